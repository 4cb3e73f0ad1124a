//! The memory that an idle connection costs its server.

use crate::floor::wire;
use crate::party::crowd::Crowd;
use crate::party::{PROTOCOL, Server};
use crate::place::Placement;
use crate::process::{allow_many_files, resident_memory};
use crate::row::{Contender, Pace, Row, Run, Unit};
use crate::scratch::Scratch;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Connections at once.
const MANY: usize = 2000;
const VERY_MANY: usize = 10_000;

pub fn rows() -> [Row; 2] {
    let title = "memory for a connection that was used and is idle";
    let row = Row::new("idle", title, Unit::Bytes, Placement::Free, || {
        vec![
            Contender::floor("raw echo on tokio", |scratch| held(scratch, "raw-tokio")),
            Contender::ours("AsyncServer, serve", |scratch| held(scratch, "ours-tokio")).at_most(2048.0),
            Contender::ours("AsyncServer, serve_inline", |scratch| held(scratch, "ours-tokio-inline"))
                .at_most(2048.0),
            Contender::ours("Server, serve", |scratch| held(scratch, "ours")),
        ]
    });
    let title = "memory of a process with 10,000 idle connections that were used";
    let process = Row::new("idle-10k", title, Unit::Bytes, Placement::Free, || {
        vec![
            Contender::floor("raw echo on tokio", |scratch| resident(scratch, "raw-tokio")),
            Contender::ours("AsyncServer, serve", |scratch| resident(scratch, "ours-tokio")),
            Contender::ours("Server, serve", |scratch| resident(scratch, "ours")),
            Contender::peer("mux, on tokio", |scratch| resident(scratch, "peer-tokio")),
        ]
    });
    [Row { pace: Pace::Once, ..row }, Row { pace: Pace::Once, ..process }]
}

/// Costs the resident memory of the server.
fn resident(scratch: &Scratch, name: &str) -> Run {
    let mut crowd = Crowd::connect(scratch, name, VERY_MANY);
    Box::new(move |count| {
        settled(&mut crowd.server);
        (resident_memory(crowd.server.pid()) * count) as f64
    })
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

/// Returns the server's bytes once they have not changed for a while. A connection counts as idle after a second at the
/// latest.
fn settled(server: &mut Server) -> i64 {
    const LONG: Duration = Duration::from_millis(1500);
    let mut held = server.held();
    let mut since = Instant::now();
    while since.elapsed() < LONG {
        thread::sleep(LONG / 100);
        let now = server.held();
        if now != held {
            held = now;
            since = Instant::now();
        }
    }
    held
}
