//! Proof that an intent is durable.
//!
//! Every method that changes something outside the process takes `&EffectPermit`. Only [`super::Journal`] makes one,
//! after the record of the intent has been synced, so a change without a journalled intent does not compile:
//!
//! ```compile_fail
//! use migrate::journal::EffectPermit;
//! let forged = EffectPermit { effect: todo!(), seal: () };   // private fields
//! ```
//! ```compile_fail
//! use migrate::journal::EffectPermit;
//! let forged: EffectPermit = Default::default();             // and no constructor
//! ```

use crate::run::EffectId;

/// Held while one effect is carried out. Not `Clone`: one intent, one permit.
#[derive(Debug)]
pub struct EffectPermit {
    effect: EffectId,
    seal: Seal,
}

#[derive(Debug)]
struct Seal;

impl EffectPermit {
    /// Called by the journal after the sync that made the intent durable.
    pub(super) fn after_sync(effect: EffectId) -> Self {
        Self { effect, seal: Seal }
    }

    /// For unit tests of what takes a permit; exists in no other build.
    #[cfg(test)]
    pub(crate) fn for_test(key: &str) -> Self {
        Self::after_sync(EffectId { step: "step".into(), key: key.to_owned() })
    }

    /// The effect this permit is for.
    pub fn effect(&self) -> &EffectId {
        let Seal = self.seal;
        &self.effect
    }
}
