//! The replacement of a service's daemon by the next one.

pub(super) mod abandoned;
pub(super) mod coordinator;
pub(super) mod replacement;
pub(super) mod replacement_step;
pub(super) mod replacing;
pub(super) mod succeed;
