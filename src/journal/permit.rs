//! Proof that an intent is durable.
//!
//! Every method that changes something outside the process takes `&EffectPermit`. Only [`super::Journal`] makes one,
//! after the record of the intent has been synced. With one, a change compiles:
//!
//! ```
//! use migrate::azure::{Azure, Lock, ResourceId, Wait};
//! use migrate::journal::EffectPermit;
//! async fn lock(azure: &Azure, wait: &mut Wait<'_>, permit: &EffectPermit, scope: &ResourceId, lock: &Lock) {
//!     let _ = azure.put_lock(wait, permit, scope, lock).await;
//! }
//! ```
//!
//! Without one it does not, and nobody else can make one:
//!
//! ```compile_fail
//! use migrate::azure::{Azure, Lock, ResourceId, Wait};
//! async fn lock(azure: &Azure, wait: &mut Wait<'_>, scope: &ResourceId, lock: &Lock) {
//!     let _ = azure.put_lock(wait, scope, lock).await;
//! }
//! ```
//! ```compile_fail
//! use migrate::{journal::{EffectPermit, Head}, run::EffectId};
//! fn forge(effect: EffectId, head: Head) -> EffectPermit {
//!     EffectPermit::after_sync(effect, head)
//! }
//! ```

use super::Head;
use crate::run::EffectId;

/// Held while one effect is carried out. Not `Clone`: one intent, one permit.
#[derive(Debug)]
pub struct EffectPermit {
    effect: EffectId,
    head: Head,
    seal: Seal,
}

#[derive(Debug)]
struct Seal;

impl EffectPermit {
    /// Called by the journal after the sync that made the intent durable.
    pub(super) fn after_sync(effect: EffectId, head: Head) -> Self {
        Self { effect, head, seal: Seal }
    }

    /// For unit tests of what takes a permit; exists in no other build.
    #[cfg(test)]
    pub(crate) fn for_test(key: &str) -> Self {
        let head = Head { records: 7, hash: "0f".repeat(32) };
        Self::after_sync(EffectId { step: "step".into(), key: key.to_owned() }, head)
    }

    /// Where the journal ended after that sync. A message that carries it keeps it where the journal's host can not
    /// write.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The effect this permit is for.
    pub fn effect(&self) -> &EffectId {
        let Seal = self.seal;
        &self.effect
    }
}
