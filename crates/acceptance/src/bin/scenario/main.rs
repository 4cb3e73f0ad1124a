//! Scenarios that need a pid namespace of their own, in which pids can be reused at will: `scenario reuse` prints its
//! outcomes line by line, and so does `scenario race SEED ROUNDS`.

#![allow(clippy::unwrap_used, reason = "part of a test: a failure is to be seen")]

#[cfg(target_os = "linux")]
mod race;
#[cfg(target_os = "linux")]
mod reuse;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["reuse"] => reuse::run(),
        ["race", seed, rounds] => race::run(seed.parse().unwrap(), rounds.parse().unwrap()),
        _ => panic!("usage: scenario reuse | race SEED ROUNDS"),
    }
}
