//! The sections of a runbook above its stages, rendered and checked: Azure, systems, silenced rules.

use std::collections::BTreeMap;

use serde_json::Value;

use super::scene::Scene;
use super::template::is_template;
use super::{AzureSettings, MysqlSystem, NameServer, PostgresSystem, SqlserverSystem, rules};
use crate::diagnostic::source::Sources;
use crate::diagnostic::{Diagnostic, mask};
use crate::runbook::keys::{AzureKeys, CloudName};
use crate::runbook::node::{Key, Kind, Node};
use crate::runbook::{Runbook, de, words};

/// What a plan takes over from those sections.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) azure: Option<AzureSettings>,
    pub(super) systems: BTreeMap<String, Value>,
    pub(super) allowed: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn read<'r>(
        runbook: &'r Runbook,
        sources: &'r Sources,
        scene: &mut Scene<'r>,
        out: &mut Vec<Diagnostic>,
    ) -> Self {
        refuse_templates(runbook, sources, out);
        let top = scene.top();
        let azure = runbook.root.get("azure").map(|node| scene.render(node, &top));
        let systems = runbook.root.get("systems").map(|node| scene.render(node, &top));
        Self {
            azure: azure.and_then(|node| read_azure(&node, sources, out)),
            systems: systems
                .map(|node| read_systems(&node, runbook, sources, out))
                .unwrap_or_default(),
            allowed: read_allowed(runbook, sources, out),
        }
    }
}

/// Where values stand, expressions are not read; one left there would be taken for text.
fn refuse_templates(runbook: &Runbook, sources: &Sources, out: &mut Vec<Diagnostic>) {
    for section in ["wave", "summary", "change", "vars", "secrets"] {
        let node = runbook.root.get(section).filter(|node| node.any_text(&is_template));
        out.extend(node.map(|node| {
            let at = first_template(node).unwrap_or(node);
            Diagnostic::error("RB018", format!("expressions are not read under `{section}`"))
                .at(sources.place(at.mark))
                .hint("write the value out; `azure`, `systems` and steps can use expressions")
        }));
    }
}

fn first_template(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Text(text) if is_template(text) => Some(node),
        Kind::List(items) => items.iter().find_map(first_template),
        Kind::Map(entries) => entries.iter().find_map(|(_, value)| first_template(value)),
        _ => None,
    }
}

fn read_azure(node: &Node, sources: &Sources, out: &mut Vec<Diagnostic>) -> Option<AzureSettings> {
    let keys: AzureKeys = de::read(node, sources, out)?;
    if keys.cloud == CloudName::Custom && keys.endpoint.is_none() {
        out.push(
            Diagnostic::error("RB006", "the key `endpoint` is missing: a custom cloud needs it")
                .at(sources.place(node.mark_of("cloud")))
                .hint("add `endpoint:` with the URL of its Resource Manager"),
        );
    }
    Some(AzureSettings {
        cloud: keys.cloud.as_str().to_owned(),
        endpoint: keys.endpoint,
        ca_file: keys.ca_file,
        subscription: keys.subscription,
        resource_group: keys.resource_group,
        credential: keys.credential,
    })
}

fn read_systems(
    node: &Node,
    runbook: &Runbook,
    sources: &Sources,
    out: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Value> {
    if !matches!(node.kind, Kind::Map(_) | Kind::Null) {
        out.push(
            Diagnostic::error("RB005", "systems are a mapping")
                .at(sources.place(node.mark))
                .hint("write `name: {postgres: …}` for each"),
        );
    }
    for (key, system) in node.entries() {
        if !matches!(system.kind, Kind::Map(_)) {
            out.push(
                Diagnostic::error("RB005", format!("the system `{}` is a mapping", key.text))
                    .at(sources.place(system.mark))
                    .hint("write `{postgres: …}`, `{mysql: …}`, `{sqlserver: …}`, `{sqlite: …}`, `{http: …}`, `{folder: …}`, `{command: […]}` or `{rfc2136: …}`"),
            );
        }
        // What is wrong is reported at its place; the plan keeps systems as they are written.
        if system.get("rfc2136").is_some() {
            let _: Option<NameServer> = de::read(system, sources, out);
        }
        if system.get("postgres").is_some() {
            let _: Option<PostgresSystem> = de::read(system, sources, out);
        }
        if system.get("mysql").is_some() {
            let _: Option<MysqlSystem> = de::read(system, sources, out);
        }
        if system.get("sqlserver").is_some() {
            let _: Option<SqlserverSystem> = de::read(system, sources, out);
        }
        for (name, value) in system.entries() {
            out.extend(unknown_secret(name, value, runbook, sources));
        }
    }
    node.entries().iter().map(|(key, system)| (key.text.clone(), system.to_json())).collect()
}

/// A system names its password by the name of a secret. The written text is never shown: it may be the password.
fn unknown_secret(
    key: &Key,
    value: &Node,
    runbook: &Runbook,
    sources: &Sources,
) -> Option<Diagnostic> {
    let secrets = &runbook.keys.secrets;
    if !mask::is_secret_name(&key.text) || !runbook.complete {
        return None;
    }
    if value.text().is_some_and(|name| secrets.contains_key(name)) {
        return None;
    }
    let names = secrets.keys().map(String::as_str);
    let near = value.text().and_then(|written| words::closest(written, names));
    let hint = near.map_or_else(
        || "add it under `secrets:` as `{env: …}`, `{file: …}`, `{command: […]}` or `{key_vault: …}`".to_owned(),
        |name| format!("did you mean `{name}`?"),
    );
    Some(
        Diagnostic::error(
            "RB023",
            format!("`{}` does not name a secret of this runbook", key.text),
        )
        .at(sources.place(value.mark))
        .hint(hint),
    )
}

fn read_allowed(
    runbook: &Runbook,
    sources: &Sources,
    out: &mut Vec<Diagnostic>,
) -> BTreeMap<String, String> {
    let mut allowed = BTreeMap::new();
    let items = runbook.root.get("allow").map(Node::items).unwrap_or_default();
    for (key, value) in items.iter().flat_map(Node::entries) {
        let place = sources.place(key.mark);
        let reason = value.text().map(str::trim).unwrap_or_default();
        if !rules::RULES.iter().any(|rule| rule.code == key.text) {
            let codes = rules::RULES.iter().map(|rule| rule.code);
            out.push(
                Diagnostic::error("RB027", format!("there is no rule `{}`", key.text))
                    .at(place)
                    .hint(words::suggest(&key.text, codes)),
            );
        } else if reason.is_empty() {
            out.push(
                Diagnostic::error("RB027", format!("`{}` is silenced without a reason", key.text))
                    .at(place)
                    .hint(format!("write `{}: why this wave breaks the rule`", key.text)),
            );
        } else {
            allowed.insert(key.text.clone(), reason.to_owned());
        }
    }
    allowed
}
