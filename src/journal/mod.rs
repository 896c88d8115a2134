//! The journal: hash-chained, synced before anything it speaks of happens.

mod permit;

pub use permit::EffectPermit;
