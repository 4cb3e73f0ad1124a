//! Services with real processes: one daemon for each, whatever happens to it, to its clients and to its files.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod activation;
mod clients;
mod files;
mod harness;
mod host;
mod idle;
mod limits;
mod replace;
mod shells;
mod spawn;
mod stampede;
mod starts;
mod states;
mod walk;
