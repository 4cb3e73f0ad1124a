//! A client of a service, and its daemon, with the faults that a test asks for.
//!
//! ```text
//! service-probe ensure|find|stop|restart [NAME=VALUE...] [-- COMMAND...]     one call, whose result is a line of JSON
//! service-probe daemon MARKER EVENTS PLAN                            the daemon; PLAN says how each start goes
//! service-probe impostor MARKER SOCKET                               answers at a socket that is another process's
//! service-probe endpoint MARKER DRIVER SOCKET IDENTITY FILE          a daemon that knows nothing of services
//! service-probe exchange MARKER DRIVER IDENTITY TIMEOUT_MS           one session with that daemon
//! ```
#![allow(clippy::unwrap_used, reason = "a part of tests")]

#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod database;
#[cfg(target_os = "linux")]
mod endpoint;
#[cfg(target_os = "linux")]
mod fault;
#[cfg(target_os = "linux")]
mod numbered;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod start;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    use std::os::unix::ffi::OsStrExt;

    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (verb, rest) = arguments.split_first().expect("a verb");
    match verb.as_bytes() {
        b"daemon" => daemon::run(rest),
        b"endpoint" => endpoint::serve(rest),
        b"exchange" => endpoint::exchange(rest),
        b"keep" => fault::keep(),
        b"impostor" => fault::impostor(&rest[1]),
        verb => client::run(verb, rest),
    }
}
