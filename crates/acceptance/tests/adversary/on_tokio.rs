//! The adversaries of the blocking proof, against the proof on tokio.
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

const DRIVER: running_process_acceptance::Driver = running_process_acceptance::Driver::Tokio;
