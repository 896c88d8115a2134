//! `assess.readiness`: may these machines move as they are, and do they fit the budget? Changes nothing.
//!
//! It reads an inventory (CSV) or the machines of an Azure Migrate assessment and holds each against one table of findings.
//! What a row does not say is unknown; unknown blocks like a finding, unless the runbook accepts it by name.

mod table;

use std::collections::BTreeSet;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use self::table::{Answer, Finding, Row};
use super::{Evidence, FailureClass, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `assess.readiness`; either `csv` or `assessment`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Inventory, relative to the runbook: a row a machine. Columns: `name`, `os`, `boot`, `nic_driver`, `local_files`,
    /// `fixed_ips`, `antivirus`, `fixed_accounts`, `monthly_cost`.
    #[serde(default)]
    pub csv: Option<String>,
    /// An assessment of Azure Migrate. It knows operating system, boot and cost, and nothing of the rest.
    #[serde(default)]
    pub assessment: Option<Assessment>,
    /// Findings that do not block, by name; the reason belongs into a comment of the runbook.
    #[serde(default)]
    pub accept: BTreeSet<Finding>,
    /// Most that all machines may cost in a month, in the currency of the inventory or assessment.
    #[serde(default)]
    pub monthly_budget: Option<f64>,
}

/// An assessment of Azure Migrate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assessment {
    /// Assessment project.
    pub project: String,
    /// Group of machines.
    pub group: String,
    /// Assessment.
    pub assessment: String,
    /// Resource group of the project; the runbook's default one when not given.
    #[serde(default)]
    pub resource_group: Option<String>,
}

const DOCS: &str = "\
Holds each machine against the readiness table:\n\n\
| finding | when |\n|---|---|\n\
| `unsupported-os` | Windows Server 2003 to 2012 R2, Windows before 10, RHEL and CentOS before 7, Ubuntu before 18.04, SLES before 12, Debian before 10; Azure Migrate says not suitable |\n\
| `legacy-boot` | BIOS boot: it moves as generation 1 and can not become generation 2 later |\n\
| `legacy-nic` | a NIC driver of an emulated card (`e1000`, `vlance`, `pcnet`) |\n\
| `local-files` | the application writes files to its own disk |\n\
| `fixed-ips` | addresses are written into code or configuration |\n\
| `host-antivirus` | an antivirus with exclusions of its own runs on the host |\n\
| `fixed-accounts` | accounts of the host or of a domain that stays are written into it |\n\
| `over-budget` | `monthly_cost` of all machines is above `monthly_budget` |\n\n\
In a CSV, cells of the yes-or-no columns are `yes` or `no`. A missing column, an empty cell and any other word are unknown. An \
unknown blocks like the finding itself. `accept` lists findings that may be there or unknown.\n\n\
Refused (exit 4) with every machine and finding that blocks. Outputs: `machines`, `ready`, `monthly_cost`.";

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "assess.readiness",
        summary: "Check machines against the readiness table, and their cost against a budget",
        docs: DOCS,
        example: include_str!("../../examples/steps/assess.readiness.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Custom],
        outputs: &["machines", "ready", "monthly_cost"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let source = with["csv"].as_str().or(with["assessment"]["assessment"].as_str());
            vec![format!("readiness of the machines in {}", source.unwrap_or("?"))]
        },
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        if with.csv.is_some() == with.assessment.is_some() {
            return Err("give either `csv` or `assessment`".to_owned());
        }
        Ok(Box::new(with))
    },
};

const ATTEMPTED: &str = "hold the machines against the readiness table";

fn unreadable(what: &str, cause: String) -> StepError {
    let known = format!("{what} could not be read; nothing was changed");
    StepError::new(FailureClass::Failed, "MIG0452", ATTEMPTED, known).cause(cause)
}

/// What came out for all machines.
struct Assessed {
    machines: usize,
    ready: usize,
    cost: Option<f64>,
    evidence: Vec<Evidence>,
}

impl With {
    async fn rows(&self, cx: &StepCx) -> Result<Vec<Row>, StepError> {
        if let Some(name) = &self.csv {
            let path = cx.beside_runbook(name);
            let text = tokio::fs::read_to_string(&path).await;
            let text = text.map_err(|error| unreadable(name, error.to_string()))?;
            return table::from_csv(&text).map_err(|cause| unreadable(name, cause));
        }
        let Some(from) = &self.assessment else { return Ok(Vec::new()) };
        let (azure, mut wait) = (&cx.world.azure, cx.wait());
        let failed =
            |error: crate::azure::ArmError| error.into_step_error(ATTEMPTED, "nothing was changed");
        let group = azure.resource_group(from.resource_group.as_deref()).map_err(failed)?;
        let path = format!(
            "providers/Microsoft.Migrate/assessmentProjects/{}/groups/{}/assessments/{}",
            from.project, from.group, from.assessment
        );
        let id = azure.scope(group).and_then(|scope| scope.join(&path)).map_err(failed)?;
        let machines = azure.assessed_machines(&mut wait, &id).await.map_err(failed)?;
        Ok(machines.into_iter().map(Row::from).collect())
    }

    async fn assess(&self, cx: &StepCx) -> Result<Assessed, StepError> {
        let rows = self.rows(cx).await?;
        let mut evidence: Vec<_> = rows.iter().map(|row| self.machine(row)).collect();
        let ready = evidence.iter().filter(|it| it.holds).count();
        if rows.is_empty() {
            evidence.push(Evidence {
                check: "machines".to_owned(),
                verdict: "not compared".to_owned(),
                detail: "there is none".to_owned(),
                holds: false,
            });
        }
        let cost = rows.iter().map(|row| row.monthly_cost).sum::<Option<f64>>();
        evidence.extend(self.budget(cost));
        Ok(Assessed { machines: rows.len(), ready, cost, evidence })
    }

    /// One machine; what is accepted is shown and does not block.
    fn machine(&self, row: &Row) -> Evidence {
        let (mut blocks, mut accepted) = (Vec::new(), Vec::new());
        for (finding, answer, why) in row.findings() {
            let said = match answer {
                Answer::No => continue,
                Answer::Yes => format!("{finding}: {why}"),
                Answer::Unknown => format!("{finding}: unknown"),
            };
            if self.accept.contains(&finding) { &mut accepted } else { &mut blocks }.push(said);
        }
        let verdict = if blocks.is_empty() { "ready" } else { "not ready" };
        let accepted = accepted.into_iter().map(|said| format!("accepted {said}"));
        let detail = blocks.iter().cloned().chain(accepted).collect::<Vec<_>>().join("; ");
        Evidence {
            check: format!("machine {}", row.name),
            verdict: verdict.to_owned(),
            detail,
            holds: blocks.is_empty(),
        }
    }

    fn budget(&self, cost: Option<f64>) -> Option<Evidence> {
        let budget = self.monthly_budget?;
        let (verdict, detail, holds) = match cost {
            Some(cost) if cost <= budget => {
                ("within budget", format!("{cost:.2} of {budget:.2} a month"), true)
            }
            Some(cost) => ("over budget", format!("{cost:.2}, budget {budget:.2} a month"), false),
            None => ("not compared", "not every machine says its cost".to_owned(), false),
        };
        let holds = holds || self.accept.contains(&Finding::OverBudget);
        Some(Evidence {
            check: "monthly cost".to_owned(),
            verdict: verdict.to_owned(),
            detail,
            holds,
        })
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        Ok(Preview { readings: self.assess(cx).await?.evidence, ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let Assessed { machines, ready, cost, evidence } = self.assess(cx.read).await?;
        let open: Vec<_> = evidence.iter().filter(|it| !it.holds).collect();
        if !open.is_empty() {
            let known = format!("{ready} of {machines} machines are ready; nothing was changed");
            let error = StepError::new(FailureClass::Refused, "MIG0451", ATTEMPTED, known);
            let error = open.into_iter().fold(error, |error, it| {
                error.cause(format!("{}: {} ({})", it.check, it.verdict, it.detail))
            });
            return Err(error.hint("remedy what is found, or accept it by name under `accept`"));
        }
        let outputs = [
            ("machines".to_owned(), json!(machines)),
            ("ready".to_owned(), json!(ready)),
            ("monthly_cost".to_owned(), cost.map_or(Value::Null, |cost| json!(cost))),
        ];
        Ok(Outcome { outputs: outputs.into(), evidence })
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::Unknown { evidence: "a check changes nothing".to_owned() }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}
