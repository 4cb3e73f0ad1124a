//! The policy of upgrades: whether a client replaces the daemon that runs by the one that it wants.
//!
//! [`UpgradePolicy::decide`] is a function of values. `ensure` asks it about each daemon that it finds, and obeys.

mod candidate;
mod decision;
mod parties;
mod policy;
mod record;
mod release;
mod version;

pub use candidate::Candidate;
pub(super) use decision::Refusal;
pub use decision::{Decision, KeepReason, Obstacle, RefuseReason, ReplaceReason};
pub use policy::{MAX_BOUND, UpgradePolicy};
pub use record::ReplacementRecord;
pub use release::Release;
