//! A client for the judge of clients: `conformance-client blocking | tokio | bytes [--break NAME]`.
//!
//! It proves the daemon of the identity file in `RUNNING_PROCESS_CONFORM_IDENTITY`, sends the request `echo hello` and prints the
//! payload of the answer. The first two are the library's clients. The third reads and writes bytes by docs/wire.md and uses nothing of
//! the library's wire. With `--break` it breaks one rule; `--list` prints the names of the rules, each with the mistake.

#![allow(clippy::unwrap_used, reason = "part of a test: a failure is to be seen")]

#[cfg(unix)]
mod breaks;
#[cfg(unix)]
mod bytes;
#[cfg(unix)]
mod library;
#[cfg(unix)]
mod told;

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write;

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments[..] {
        ["--list"] => {
            breaks::Break::list();
            return Ok(());
        }
        ["blocking"] => library::blocking()?,
        ["tokio"] => library::tokio()?,
        ["bytes"] => bytes::request(None)?,
        ["bytes", "--break", rule] => bytes::request(Some(breaks::Break::named(rule)))?,
        _ => return Err("usage: conformance-client blocking | tokio | bytes [--break NAME]".into()),
    };
    Ok(std::io::stdout().write_all(&answer)?)
}
