//! Every key of a runbook as a type: what is read, what the JSON Schema says, and what completion offers.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;

use crate::plan::{
    MysqlSystem, NameServer, OnFailure, PostgresSystem, SecretRef, Span, SqlserverSystem,
};

/// A runbook: one wave, the set of workloads that is cut over together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Runbook of migrate")]
pub struct RunbookKeys {
    /// Version of the runbook format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub migrate: u32,
    /// Name of the wave; letters, digits, `-` and `_`.
    pub wave: String,
    /// What the wave does, in one line.
    #[serde(default)]
    pub summary: String,
    /// The change ticket.
    #[serde(default)]
    pub change: Option<String>,
    /// The agreed interval in which release actions may start.
    #[serde(default)]
    pub window: Option<WindowKeys>,
    /// Where and as whom Azure is called.
    #[serde(default)]
    #[schemars(with = "Option<AzureKeys>")]
    pub azure: Raw,
    /// Values for `{{ vars.name }}`.
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
    /// References to secrets by name, never values.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretKeys>,
    /// Named endpoints that steps refer to: `{postgres: …}`, `{http: …}`, `{folder: …}`, `{sqlite: …}`, `{command: […]}`,
    /// `{rfc2136: …}`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, SystemKeys>")]
    pub systems: Raw,
    /// What moves, by name; or `from: inventory.csv` with a row for each.
    #[serde(default)]
    #[schemars(with = "WorkloadsKeys")]
    pub workloads: Raw,
    /// How many steps may run side by side; 50 when not given.
    #[serde(default)]
    pub parallel: Option<NonZeroU32>,
    /// CAF rules that this wave breaks on purpose: `[CAF008: reason]`.
    #[serde(default)]
    pub allow: Vec<BTreeMap<String, String>>,
    /// The steps.
    pub stages: StagesKeys,
}

/// The agreed interval in which release actions may start.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowKeys {
    /// First moment: RFC 3339 with an offset, `2026-12-05T22:00:00+01:00`.
    #[serde(deserialize_with = "timestamp")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub opens: Timestamp,
    /// Last moment.
    #[serde(deserialize_with = "timestamp")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub closes: Timestamp,
    /// Kept free before `closes` for going back.
    #[serde(default)]
    pub rollback_reserve: Span,
}

/// Where and as whom Azure is called.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureKeys {
    /// The cloud.
    #[serde(default)]
    pub cloud: CloudName,
    /// Resource Manager endpoint of a custom cloud.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// PEM file with the certificate of a private authority.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// Subscription id.
    pub subscription: String,
    /// Resource group used where a step names none.
    #[serde(default)]
    pub resource_group: Option<String>,
    /// `auto`, or a mapping with the kind of credential and its settings.
    #[serde(default = "auto")]
    pub credential: Value,
}

fn auto() -> Value {
    Value::String("auto".to_owned())
}

/// The clouds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CloudName {
    /// The public cloud.
    #[default]
    Public,
    /// Azure Government.
    UsGovernment,
    /// Azure operated by 21Vianet.
    China,
    /// Any other; needs `endpoint`.
    Custom,
}

impl CloudName {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::UsGovernment => "us-government",
            Self::China => "china",
            Self::Custom => "custom",
        }
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretKeys {
    /// An environment variable.
    Env(String),
    /// A file, relative to the runbook.
    File(String),
    /// A command whose standard output is the secret.
    Command(Vec<String>),
    /// URL of a Key Vault secret.
    KeyVault(String),
}

impl From<SecretKeys> for SecretRef {
    fn from(keys: SecretKeys) -> Self {
        match keys {
            SecretKeys::Env(name) => Self::Env(name),
            SecretKeys::File(path) => Self::File(path),
            SecretKeys::Command(argv) => Self::Command(argv),
            SecretKeys::KeyVault(url) => Self::KeyVault(url),
        }
    }
}

/// Workloads by name, or an inventory file with a row for each.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum WorkloadsKeys {
    /// An inventory.
    Inventory {
        /// CSV file, relative to the runbook, with the columns of a workload and the column `name`.
        from: String,
    },
    /// Workloads by name.
    Inline(BTreeMap<String, WorkloadKeys>),
}

/// A named endpoint.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum SystemKeys {
    /// A primary name server.
    NameServer(NameServer),
    /// A PostgreSQL server.
    Postgres(PostgresSystem),
    /// A MySQL or MariaDB server.
    Mysql(MysqlSystem),
    /// A SQL Server.
    Sqlserver(SqlserverSystem),
    /// Any other: the kind of endpoint with its address, and what it needs.
    Other(BTreeMap<String, Value>),
}

/// What moves as a whole. Further keys are free and can be used as `{{ workload.key }}`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct WorkloadKeys {
    /// How it moves.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// How much the business depends on it.
    #[serde(default)]
    pub criticality: Option<Criticality>,
    /// How its data is classified.
    #[serde(default)]
    pub data: Option<String>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
}

impl WorkloadKeys {
    /// The keys that mean something to the rules.
    pub const KNOWN: [&str; 4] = ["strategy", "criticality", "data", "owner"];
}

/// How a workload moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Replication runs until the lag is zero; writes pause for minutes.
    NearZeroDowntime,
    /// The workload stops, is copied, and starts at the target.
    PlannedDowntime,
}

impl Strategy {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NearZeroDowntime => "near-zero-downtime",
            Self::PlannedDowntime => "planned-downtime",
        }
    }
}

/// How much the business depends on a workload, in the words of the Cloud Adoption Framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criticality {
    /// The company's mission fails without it.
    MissionCritical,
    /// A business process fails without it.
    BusinessCritical,
    /// The mission of one unit fails without it.
    UnitCritical,
    /// People cannot work without it.
    High,
    /// People work less well without it.
    Medium,
    /// It will hardly be missed.
    Low,
}

impl Criticality {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissionCritical => "mission-critical",
            Self::BusinessCritical => "business-critical",
            Self::UnitCritical => "unit-critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// The four stages, each a list of steps, in their only order.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StagesKeys {
    /// Announce, freeze, check permissions.
    #[serde(default)]
    #[schemars(with = "Vec<StepKeys>")]
    pub prepare: Raw,
    /// Prove that source and target are ready.
    #[serde(default)]
    #[schemars(with = "Vec<StepKeys>")]
    pub assess: Raw,
    /// Build the target and bring data to it.
    #[serde(default)]
    #[schemars(with = "Vec<StepKeys>")]
    pub deploy: Raw,
    /// Cut over, watch, close.
    #[serde(default)]
    #[schemars(with = "Vec<StepKeys>")]
    pub release: Raw,
}

/// A part that is read later, from its node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_ignored_any(IgnoredAny).map(|_| Self)
    }
}

impl JsonSchema for Raw {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Anything".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!(true)
    }
}

/// A reusable list of steps. A fragment may also be the bare list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FragmentKeys {
    /// What the fragment does.
    #[serde(default)]
    pub summary: String,
    /// Parameters with their default values; `null` for one that must be given.
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
    /// The steps.
    #[schemars(with = "Vec<StepKeys>")]
    pub steps: Raw,
}

/// A step: the smallest journalled action.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Step")]
pub struct StepKeys {
    /// Unique in the runbook; letters, digits, `-` and `_`.
    #[serde(default)]
    pub id: Option<String>,
    /// The kind of step, or the path of a fragment: `./fragments/x.yaml`.
    pub uses: String,
    /// Parameters of the kind; for a fragment its `vars`.
    #[serde(default)]
    pub with: Raw,
    /// The workload it belongs to. Steps of different workloads run side by side; a step without one waits for all above
    /// it and holds all below it.
    #[serde(default)]
    pub workload: Option<String>,
    /// `workload`: repeat the step for every workload.
    #[serde(default)]
    pub each: Option<Each>,
    /// Ids of steps that must have ended before.
    #[serde(default)]
    pub after: Vec<String>,
    /// Expression; the step is skipped when it is false.
    #[serde(default)]
    pub when: Option<When>,
    /// Deadline of one attempt.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How often, and after which pause, a failed attempt is repeated.
    #[serde(default)]
    pub retry: Option<RetryKeys>,
    /// What happens when the step fails; `hold` when not given.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// `before`: stop before the step until a person releases it.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// How to take the step back; for `exec` and `http.request` only.
    #[serde(default)]
    pub undo: Raw,
    /// Rollback is impossible after this step.
    #[serde(default)]
    pub point_of_no_return: bool,
}

/// What a step is repeated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Each {
    /// Every workload.
    Workload,
}

/// Where a step stops for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// Before it starts.
    Before,
}

/// A condition: an expression, or `true` and `false`.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum When {
    /// Fixed.
    Always(bool),
    /// An expression without braces around it: `steps.lag.lag_seconds < 5`.
    Expression(String),
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = When;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an expression, `true` or `false`")
            }
            fn visit_bool<E>(self, value: bool) -> Result<When, E> {
                Ok(When::Always(value))
            }
            fn visit_str<E>(self, text: &str) -> Result<When, E> {
                Ok(When::Expression(text.to_owned()))
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// Repeats of a failed attempt.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryKeys {
    /// Attempts in all.
    pub attempts: NonZeroU32,
    /// First pause; it doubles, with jitter, up to 32 times itself. 5 s when not given.
    #[serde(default = "five_seconds")]
    pub backoff: Span,
}

fn five_seconds() -> Span {
    Span::seconds(5)
}

fn timestamp<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = Timestamp;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a moment with its offset, like `2026-12-05T22:00:00+01:00`")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
            text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    from.deserialize_str(Visitor)
}
