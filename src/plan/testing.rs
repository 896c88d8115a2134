//! A small catalogue, and runbooks from text: for the tests of this module, which need no real step kind.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Catalogue, Class, KindSpec, Plan, Prepared, Role, prepare};
use crate::run::{Repeat, Undo};

/// Parameters of every kind here.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read to be checked")]
pub(crate) struct With {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    number: Option<u32>,
    #[serde(default)]
    list: Vec<String>,
}

const fn spec(name: &'static str, class: Class, undo: Undo, roles: &'static [Role]) -> KindSpec {
    KindSpec {
        name,
        summary: "",
        docs: "",
        example: "",
        class,
        repeat: Repeat::Guarded,
        undo,
        roles,
        outputs: &["seconds"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: |from| erased_serde::deserialize::<With>(from).map(drop),
        describe: |_| Vec::new(),
    }
}

use Class::{Action, Check};

/// A kind for each role.
pub(crate) const CATALOGUE: Catalogue = Catalogue {
    kinds: &[
        &spec("note", Action, Undo::LeavesInPlace, &[Role::Notifies]),
        &spec("ask", Check, Undo::LeavesInPlace, &[Role::Approves]),
        &spec("freeze", Action, Undo::Restores, &[Role::Freezes]),
        &spec("unfreeze", Action, Undo::Restores, &[Role::Unfreezes]),
        &spec("lag", Check, Undo::LeavesInPlace, &[Role::WaitsForLag]),
        &spec("sync", Action, Undo::LeavesInPlace, &[Role::Syncs]),
        &spec("pause", Action, Undo::Restores, &[Role::PausesWrites]),
        &spec("resume", Action, Undo::Restores, &[Role::ResumesWrites]),
        &spec("compare", Check, Undo::LeavesInPlace, &[Role::VerifiesData]),
        &spec("ttl", Action, Undo::Restores, &[Role::LowersTtl]),
        &spec("switch", Action, Undo::Restores, &[Role::SwitchesTraffic]),
        &spec("switch.for.good", Action, Undo::Irreversible, &[Role::SwitchesTraffic]),
        &spec("probe", Check, Undo::LeavesInPlace, &[Role::Probes]),
        &spec("watch", Check, Undo::LeavesInPlace, &[Role::Stabilizes]),
        &spec("retire", Action, Undo::Irreversible, &[Role::Decommissions]),
        &spec("exec", Action, Undo::LeavesInPlace, &[Role::Custom]),
    ],
    accepts: |_, with| match with["number"].as_u64() {
        Some(13) => Err("13 brings bad luck".to_owned()),
        _ => Ok(()),
    },
};

/// Reads and plans a runbook named `w.yaml` together with other files.
pub(crate) fn prepared(text: &str, others: &[(&str, &str)]) -> Prepared {
    let files: BTreeMap<String, String> = [("w.yaml", text)]
        .iter()
        .chain(others)
        .map(|&(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    prepare("w.yaml", &files, CATALOGUE)
}

/// The plan of a runbook without mistakes.
pub(crate) fn plan(text: &str) -> Plan {
    let prepared = prepared(text, &[]);
    prepared.plan.unwrap_or_else(|| panic!("{:#?}", prepared.found))
}
