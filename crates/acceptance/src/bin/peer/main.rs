//! A daemon, genuine or hostile: `peer MODE SOCKET IDENTITY [ARGUMENT]`.
//!
//! It prints `ready` when it listens at SOCKET, and ends when its standard input does, unless that is the listening
//! socket. Impostors print, for every connection that has ended, the bytes that they received on it.

#![allow(clippy::unwrap_used, reason = "part of a test: a failure is to be seen")]

#[cfg(target_os = "linux")]
mod genuine;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod impostor;
#[cfg(target_os = "linux")]
mod process_state;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    use std::path::Path;

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, socket, identity_file, argument @ ..] = &arguments[..] else {
        panic!("usage: peer MODE SOCKET IDENTITY [ARGUMENT]")
    };
    let (path, identity_file) = (Path::new(socket), Path::new(identity_file));
    let argument = argument.first().map(String::as_str);
    match &mode[..] {
        "genuine" => genuine::serve(socket, identity_file, argument),
        "from-memory" => genuine::serve_from_memory(socket, identity_file),
        "without-first-thread" => genuine::serve_without_first_thread(socket, identity_file),
        "aloud" => genuine::serve_aloud(socket, identity_file),
        "other-digests" => genuine::serve_with_recorded_digests(socket, identity_file),
        "inherited" => genuine::serve_passed(socket, identity_file),
        "inherited-unrecorded" => genuine::serve_inherited(socket, identity_file),
        "replay" => impostor::replay(&impostor::replace_socket(path), identity_file),
        "replay-inherited" => impostor::replay_on_stdin(identity_file),
        "replay-delegated" => hostile::answer_for_the_parent(identity_file),
        "claim-inherited" => impostor::claim_on_stdin(identity_file),
        "proxy" => impostor::proxy(&impostor::replace_socket(path), Path::new(argument.unwrap())),
        "proxy-inherited" => impostor::proxy_on_stdin(Path::new(argument.unwrap())),
        "leave-to-child" => impostor::leave_to_child(path, identity_file),
        "replay-connected" => impostor::replay_connected(identity_file),
        "exec-meanwhile" => hostile::become_another_meanwhile(socket, identity_file, argument.unwrap()),
        "exec-later" => hostile::become_another_later(socket, identity_file, argument.unwrap()),
        "exec" => hostile::become_another(socket, identity_file, argument.unwrap()),
        "delegate" => hostile::delegate(socket, identity_file),
        "delegate-half" => hostile::answer_with_a_child(socket, identity_file),
        "deaf" => hostile::deaf(socket, identity_file),
        _ => hostile::misbehave(mode, socket, identity_file, argument),
    }
}
