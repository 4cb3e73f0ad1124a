//! Processes that try to pass for the daemon, or to make its callers wait, leak or give up. Each is refused with the
//! reason that names it, before it has received a byte of the caller's request. The genuine daemon is never refused.
//!
//! If the kernel names processes by pidfds, every case runs with them and without.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod claims;
mod cost;
mod deaths;
mod harness;
mod images;
mod impostors;
mod inherited;
mod manners;
mod mapped;
mod namespaces;
mod replacement;

const DRIVER: running_process_acceptance::Driver = running_process_acceptance::Driver::Blocking;
