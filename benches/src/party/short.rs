//! A short command: a process that sends its daemon one request and ends.

use super::{Exchange, PROTOCOL, Program, ours, peer};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const EXCHANGE: Exchange = Exchange::Echo(64);

/// Runs the command of that name against the server at `socket` and returns the nanoseconds between the first line of its
/// `main` and the response.
pub fn run(program: &Program, name: &str, socket: &Path) -> f64 {
    let output = Command::new(&program.path)
        .args(["short", name])
        .arg(socket)
        .env("XDG_CACHE_HOME", &program.cache)
        .output()
        .expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim_end().parse().unwrap_or_else(|_| panic!("the command {name} failed: {output:?}"))
}

/// Verifies the daemon and sends one request; `begin` is the time at which the command began.
pub fn main(begin: Instant, name: &str, socket: &Path) {
    let response = match name {
        "raw" => {
            let mut stream = UnixStream::connect(socket).unwrap();
            let mut response = vec![0; EXCHANGE.response_length()];
            stream.write_all(&EXCHANGE.request()).unwrap();
            stream.read_exact(&mut response).unwrap();
            response
        }
        "ours" => {
            ours::prove(&ours::read_identity_file(socket))
                .into_client()
                .request(PROTOCOL, EXCHANGE.request())
                .unwrap()
                .payload
        }
        "peer" => peer::prove_and_ask(&peer::read_identity_file(socket), EXCHANGE.request()),
        _ => panic!("no command is called {name}"),
    };
    let took = begin.elapsed().as_nanos();
    EXCHANGE.check(&response);
    println!("{took}");
}
