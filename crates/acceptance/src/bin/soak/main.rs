//! A long run of everything at once against real daemons: `soak --help`, and `ci/soak.sh`.
//!
//! The coordinator starts two daemons that live as long as the run, a service whose daemon it replaces and kills, a client process
//! and hostile peers. All of them write lines to its [journal], from which the [judge](run::judge) knows what became of each request.
#![allow(clippy::unwrap_used, reason = "a part of tests")]

#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod journal;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod random;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod work;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("daemon") => daemon::run(&arguments[1..]),
        Some("client") => client::run(&arguments[1..]),
        _ => return run::run(&options::Options::parse(&arguments)),
    }
    std::process::ExitCode::SUCCESS
}
