//! Which process a daemon is: its identity, and the probe that asks for it.

pub mod identity;
pub mod judge;
pub mod probe;
