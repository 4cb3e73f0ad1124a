//! Services whose daemon a service manager starts when a client connects.

pub(super) mod managed_start;
pub(super) mod manager;
pub(super) mod request;
