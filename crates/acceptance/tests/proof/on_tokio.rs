//! Handles to real processes on tokio, with the cases of the blocking driver.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod handle;
#[cfg(target_os = "linux")]
mod policies;
mod refusals;
#[cfg(target_os = "linux")]
mod tasks;

const DRIVER: running_process_acceptance::Driver = running_process_acceptance::Driver::Tokio;
