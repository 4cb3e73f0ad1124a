//! What a connection that nobody uses costs its server in memory.

use crate::floor::wire;
use crate::party::{PROTOCOL, Server};
use crate::place::Placement;
use crate::row::{Contender, Row, Run, Unit};
use crate::scratch::Scratch;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Connections at once.
const MANY: usize = 2000;

pub fn rows() -> [Row; 1] {
    [Row::new(
        "idle",
        "memory for a connection that was used and is idle",
        Unit::Bytes,
        Placement::Free,
        || {
            vec![
                Contender::floor("raw echo on tokio", |scratch| held(scratch, "raw-tokio")),
                Contender::ours("AsyncServer, serve", |scratch| held(scratch, "ours-tokio")).at_most(2048.0),
                Contender::ours("AsyncServer, serve_inline", |scratch| held(scratch, "ours-tokio-inline"))
                    .at_most(2048.0),
                Contender::ours("Server, serve", |scratch| held(scratch, "ours")),
            ]
        },
    )]
}

fn held(scratch: &Scratch, name: &str) -> Run {
    allow_many_files();
    let mut server = Server::start(scratch, name);
    let mut request = vec![0; 128];
    let length = wire::encode(&mut request, 0, PROTOCOL, 1, &[7; 64]);
    request.truncate(length);
    // A server that echoes sends the frame back as it is, one that answers sends a frame with two bytes more.
    let mut response = vec![0; if name.starts_with("raw") { request.len() } else { request.len() + 2 }];
    Box::new(move |count| {
        let before = settled(&mut server);
        let streams: Vec<UnixStream> = (0..MANY)
            .map(|_| {
                let mut stream = server.connect();
                stream.write_all(&request).unwrap();
                stream.read_exact(&mut response).unwrap();
                stream
            })
            .collect();
        let with_all = settled(&mut server);
        drop(streams);
        (with_all - before) as f64 / MANY as f64 * count as f64
    })
}

/// What the server holds once that does not change any more.
fn settled(server: &mut Server) -> i64 {
    let mut held = server.held();
    let mut the_same = 0;
    while the_same < 1000 {
        let now = server.held();
        the_same = if now == held { the_same + 1 } else { 0 };
        held = now;
    }
    held
}

/// For this process and the servers that it starts.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the maximum");
}
