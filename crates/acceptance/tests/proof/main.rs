//! Handles to real processes by the blocking driver: their use, and every reason not to return one.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod handle;
#[cfg(target_os = "linux")]
mod policies;
mod refusals;

const DRIVER: running_process_acceptance::Driver = running_process_acceptance::Driver::Blocking;
