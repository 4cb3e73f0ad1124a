//! A daemon of the conformance protocol on threads: `conformance-daemon --socket PATH --identity FILE --protocol ID [--break NAME]`.
//!
//! It reads and writes bytes by docs/wire.md and uses nothing of the library's wire, so that the judge of daemons meets another
//! implementation than the one that it is made of. With `--break` it breaks one rule; `--list` prints the names of the rules, each with
//! the mistake.

#![allow(clippy::unwrap_used, reason = "part of a test: a failure is to be seen")]

#[cfg(target_os = "linux")]
mod breaks;
#[cfg(target_os = "linux")]
mod connection;
#[cfg(target_os = "linux")]
mod identity;
#[cfg(target_os = "linux")]
mod request;
#[cfg(target_os = "linux")]
mod waits;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    use breaks::Break;
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    let mut arguments = std::env::args().skip(1);
    let (mut socket, mut identity_file, mut protocol, mut broken) = (None, None, 0xF0C0, None);
    while let Some(name) = arguments.next() {
        if name == "--list" {
            return Break::list();
        }
        let value = arguments.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            "--socket" => socket = Some(value),
            "--identity" => identity_file = Some(value),
            "--protocol" => protocol = number(&value),
            "--break" => broken = Some(Break::named(&value)),
            _ => panic!("{name} is unknown"),
        }
    }
    let (socket, identity_file) = (socket.unwrap(), identity_file.unwrap());
    let listener = UnixListener::bind(&socket).unwrap();
    let identity = identity::write(&socket, identity_file.as_ref(), broken);
    let daemon = Arc::new(connection::Daemon::new(protocol, identity, broken));
    println!("ready");
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        if broken == Some(Break::OneConnection) {
            daemon.serve(stream);
        } else {
            let daemon = Arc::clone(&daemon);
            std::thread::spawn(move || daemon.serve(stream));
        }
    }
}

/// Parses a payload protocol, in hex behind `0x`.
#[cfg(target_os = "linux")]
fn number(text: &str) -> u32 {
    text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 16)).unwrap()
}
