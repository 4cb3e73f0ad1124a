//! A daemon, genuine or hostile: `peer MODE SOCKET RECORD [ARGUMENT]`.
//!
//! It prints `ready` when it stands at SOCKET, and ends when its standard input does, unless that is the socket on which
//! it listens. Impostors print, for every connection that has ended, what they received on it.

#![allow(clippy::unwrap_used, reason = "part of a test: a failure is to be seen")]

#[cfg(target_os = "linux")]
mod genuine;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod impostor;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    use std::path::Path;

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, socket, record, argument @ ..] = &arguments[..] else {
        panic!("usage: peer MODE SOCKET RECORD [ARGUMENT]")
    };
    let (path, record) = (Path::new(socket), Path::new(record));
    let argument = argument.first().map(String::as_str);
    match &mode[..] {
        "genuine" => genuine::serve(socket, record, argument),
        "from-memory" => genuine::serve_from_memory(socket, record),
        "without-first-thread" => genuine::serve_without_first_thread(socket, record),
        "aloud" => genuine::serve_aloud(socket, record),
        "other-digests" => genuine::serve_with_recorded_digests(socket, record),
        "inherited" => genuine::serve_passed(socket, record),
        "inherited-unrecorded" => genuine::serve_inherited(socket, record),
        "replay" => impostor::replay(&impostor::take_over(path), record),
        "replay-inherited" => impostor::replay_on_stdin(record),
        "replay-delegated" => hostile::answer_for_the_parent(record),
        "claim-inherited" => impostor::claim_on_stdin(record),
        "proxy" => impostor::proxy(&impostor::take_over(path), Path::new(argument.unwrap())),
        "proxy-inherited" => impostor::proxy_on_stdin(Path::new(argument.unwrap())),
        "hand-over" => impostor::hand_over(path, record),
        "replay-connected" => impostor::replay_connected(record),
        "exec-meanwhile" => hostile::become_another_meanwhile(socket, record, argument.unwrap()),
        "exec-later" => hostile::become_another_later(socket, record, argument.unwrap()),
        "exec" => hostile::become_another(socket, record, argument.unwrap()),
        "delegate" => hostile::delegate(socket, record),
        "deaf" => hostile::deaf(socket, record),
        _ => hostile::misbehave(mode, socket, record, argument),
    }
}
