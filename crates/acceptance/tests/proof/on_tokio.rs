//! Handles to real processes, on tokio: what they are good for, and every reason not to give one. The cases are those of the blocking driver.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod handle;
#[cfg(target_os = "linux")]
mod policies;
mod refusals;
#[cfg(target_os = "linux")]
mod tasks;

const DRIVER: running_process_acceptance::Driver = running_process_acceptance::Driver::Tokio;
