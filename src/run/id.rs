//! Identities of things in a run, as newtypes: a step id can not be passed where a run id is meant.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps text that has been checked where it was read.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
            /// The text as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_id!(
    /// One execution of a plan: `wave-3-20261205T210000Z-1f3a`. Also the folder name under `runs/`.
    RunId
);
text_id!(
    /// The set of workloads cut over together; one runbook is one wave.
    WaveName
);
text_id!(
    /// What moves as a whole: application, data, names, dependants.
    WorkloadName
);
text_id!(
    /// The smallest journalled action, unique in its plan: `lag`, or `lag[crm]` where `each: workload` made it.
    StepId
);

/// The four stages of the Cloud Adoption Framework's migrate methodology, in their only order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Announce, freeze, check permissions.
    Prepare,
    /// Prove that source and target are ready.
    Assess,
    /// Build the target and bring data to it.
    Deploy,
    /// Cut over, watch, close.
    Release,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 4] = [Self::Prepare, Self::Assess, Self::Deploy, Self::Release];

    /// The key in the runbook.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Assess => "assess",
            Self::Deploy => "deploy",
            Self::Release => "release",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One effect of one step: the step and the intent's key. The same key in a later attempt is the same effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId {
    /// The step that declares the effect.
    pub step: StepId,
    /// [`crate::run::Intent::key`].
    pub key: String,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.step, self.key)
    }
}
