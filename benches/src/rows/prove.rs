//! Verifying a daemon on a fresh connection, and the first response of a short command, which includes that.

use super::LARGE_PROGRAM;
use crate::party::{Program, Server, ours, peer, short};
use crate::place::Placement;
use crate::row::{Contender, Row, Run, Unit, timed};
use crate::scratch::Scratch;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub fn rows() -> [Row; 4] {
    let row = |name, title, contenders| Row::new(name, title, Unit::Time, Placement::OneCpu, contenders);
    [
        row("prove-small", "connect and verify a daemon, small executable", || prove(Program::own)),
        row("prove-100m", "connect and verify a daemon, executable of 100 MB", || prove(large)),
        row("command-small", "a short command: main to first answer, small executable", || {
            command(Program::own)
        }),
        row("command-100m", "a short command: main to first answer, executable of 100 MB", || command(large)),
    ]
}

fn large(scratch: &Scratch) -> Program {
    Program::padded_to(LARGE_PROGRAM, scratch)
}

fn prove(program: fn(&Scratch) -> Program) -> Vec<Contender> {
    vec![
        Contender::floor("connect, a nonce there and back", move |scratch| {
            let server = Server::start_program(&program(scratch), scratch, "raw");
            timed(move || {
                let mut stream = UnixStream::connect(server.socket()).unwrap();
                let (nonce, mut echo) = ([7; 32], [0; 32]);
                stream.write_all(&nonce).unwrap();
                stream.read_exact(&mut echo).unwrap();
                assert_eq!(echo, nonce);
            })
        }),
        Contender::ours("probe_with_service", move |scratch| {
            let server = Server::start_program(&program(scratch), scratch, "ours");
            let daemon = ours::read_identity_file(server.socket());
            timed(move || {
                let _alive = &server;
                ours::prove(&daemon);
            })
        })
        .within(1.5),
        Contender::peer("probe_with_service", move |scratch| {
            let server = Server::start_program(&program(scratch), scratch, "peer");
            let daemon = peer::read_identity_file(server.socket());
            timed(move || {
                let _alive = &server;
                peer::prove(&daemon);
            })
        }),
    ]
}

fn command(program: fn(&Scratch) -> Program) -> Vec<Contender> {
    let again = move |name: &'static str| {
        move |scratch: &Scratch| {
            let program = program(scratch);
            let server = Server::start_program(&program, scratch, name);
            commands(move || short::run(&program, name, server.socket()))
        }
    };
    let first = move |scratch: &Scratch| {
        let program = program(scratch);
        let server = Server::start_program(&program, scratch, "ours");
        let scratch = Scratch::within(scratch.path(), scratch.server_cpu);
        commands(move || short::run(&program.clone().forgetful(&scratch), "ours", server.socket()))
    };
    vec![
        Contender::floor("connect, 64 B there and back", again("raw")),
        Contender::ours("verify and ask, digest remembered", again("ours")).within(2.0),
        Contender::ours("verify and ask, nothing remembered", first),
        Contender::peer("verify and ask", again("peer")),
    ]
}

fn commands(mut command: impl FnMut() -> f64 + 'static) -> Run {
    Box::new(move |count| (0..count).map(|_| command()).sum())
}
