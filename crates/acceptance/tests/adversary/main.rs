//! Processes that want to pass for the daemon, or make its callers wait, leak or give up: each is refused with the reason
//! that names it, before it has seen a byte of the caller's request, and the genuine daemon never is.
//!
//! Where the kernel has calls that name processes by pidfds, everything is tried with them and without.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

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
