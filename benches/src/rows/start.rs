//! The time from the start of a daemon's process until a client can use it.

use super::LARGE_PROGRAM;
use crate::party::{Exchange, PROTOCOL, Program, Server, ours};
use crate::place::Placement;
use crate::process::peak_memory;
use crate::row::{Contender, Row, Run, Unit, nanoseconds};
use crate::scratch::Scratch;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two attempts to reach the daemon: the error of a measurement.
const PAUSE: Duration = Duration::from_micros(20);

pub fn rows() -> [Row; 4] {
    let row = |name, title, unit, contenders| Row::new(name, title, unit, Placement::Free, contenders);
    [
        row("start-listen", "start a daemon of 100 MB: until a connection succeeds", Unit::Time, || {
            contenders(listens, listens, |contender| contender.within(1.5))
        }),
        row("start-answer", "start a daemon of 100 MB: until it has answered a request", Unit::Time, || {
            contenders(echoes, answers, |contender| contender.within(1.5))
        }),
        row("start-record", "start a daemon of 100 MB: until its identity file is there", Unit::Time, || {
            contenders(listens, has_identity_file, |contender| contender)
        }),
        row("start-memory", "start a daemon of 100 MB: peak of its memory", Unit::Bytes, || {
            contenders(memory_of_raw, memory, |contender| contender.within(2.0))
        }),
    ]
}

/// A function that waits for the event of a row and returns its cost, for a server that was started at that time.
type Milestone = fn(&Server, Instant) -> f64;

fn contenders(raw: Milestone, daemon: Milestone, goal: fn(Contender) -> Contender) -> Vec<Contender> {
    let warm =
        |name, milestone| move |scratch: &Scratch| start(scratch, name, milestone, |program, _| program);
    vec![
        Contender::floor("raw echo", warm("raw", raw)),
        goal(Contender::ours("Server, digest remembered", warm("ours", daemon))),
        goal(Contender::ours("AsyncServer, digest remembered", warm("ours-tokio", daemon))),
        goal(Contender::ours("Server, nothing remembered", move |scratch| {
            start(scratch, "ours", daemon, Program::forgetful)
        })),
        Contender::peer("identify, bind, mux", warm("peer", daemon)),
    ]
}

fn start(
    scratch: &Scratch,
    name: &'static str,
    milestone: Milestone,
    prepare: fn(Program, &Scratch) -> Program,
) -> Run {
    let program = Program::padded_to(LARGE_PROGRAM, scratch);
    let scratch = Scratch::within(scratch.path(), scratch.server_cpu);
    Box::new(move |count| {
        let once = |_| {
            let program = prepare(program.clone(), &scratch);
            let begin = Instant::now();
            milestone(&Server::spawn(&program, &scratch, name), begin)
        };
        (0..count).map(once).sum()
    })
}

fn wait_until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        match attempt() {
            Some(value) => return value,
            None => thread::sleep(PAUSE),
        }
    }
}

fn connected(server: &Server) -> UnixStream {
    wait_until(|| UnixStream::connect(server.socket()).ok())
}

fn listens(server: &Server, begin: Instant) -> f64 {
    connected(server);
    nanoseconds(begin)
}

fn echoes(server: &Server, begin: Instant) -> f64 {
    let mut stream = connected(server);
    stream.write_all(&[7; 64]).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    nanoseconds(begin)
}

fn answers(server: &Server, begin: Instant) -> f64 {
    let exchange = Exchange::Echo(64);
    let mut client = ours::from_stream(connected(server));
    exchange.check(&client.request(PROTOCOL, exchange.request()).unwrap().payload);
    nanoseconds(begin)
}

fn has_identity_file(server: &Server, begin: Instant) -> f64 {
    let file = ours::identity_file_of(server.socket());
    wait_until(|| file.exists().then_some(()));
    nanoseconds(begin)
}

fn memory_of_raw(server: &Server, begin: Instant) -> f64 {
    echoes(server, begin);
    peak_memory(server.pid()) as f64
}

/// Waits until the daemon has written its identity file and has answered, so that its start is over.
fn memory(server: &Server, begin: Instant) -> f64 {
    answers(server, begin);
    has_identity_file(server, begin);
    peak_memory(server.pid()) as f64
}
