//! Services: finding the daemon that runs, and starting one.

use crate::party::{Program, Server, ours};
use crate::place::Placement;
use crate::row::{Contender, Row, Run, Unit, nanoseconds, timed};
use crate::scratch::Scratch;
use running_process::BackendHandle;
use running_process::Service;
use running_process::broker::backend_sdk::read_daemon_identity_file;
use running_process::broker::service::Deadline;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two attempts to reach the raw daemon: the error of a measurement.
const PAUSE: Duration = Duration::from_micros(20);

pub fn rows() -> [Row; 2] {
    let row = |name, title, placement, contenders| Row::new(name, title, Unit::Time, placement, contenders);
    [
        row("service-find", "find the daemon of a service, which runs", Placement::OneCpu, find),
        row(
            "service-start",
            "start the daemon of a service, until a connection is proven",
            Placement::Free,
            start,
        ),
    ]
}

fn find() -> Vec<Contender> {
    vec![
        Contender::floor("read the identity file and prove", |scratch| {
            let daemon = Running::start(scratch);
            let identity_file = daemon.0.identity_file().unwrap();
            timed(move || {
                let _alive = &daemon;
                let identity = read_daemon_identity_file(&identity_file).unwrap();
                ours::prove(&identity);
            })
        }),
        Contender::ours("Service::ensure", |scratch| {
            let daemon = Running::start(scratch);
            timed(move || drop(ensured(&daemon.0)))
        })
        .within(1.1),
    ]
}

fn start() -> Vec<Contender> {
    vec![
        Contender::floor("fork, exec, bind, first answer", |scratch| {
            let scratch = Scratch::within(scratch.path(), scratch.server_cpu);
            let program = Program::own(&scratch);
            costs(move || {
                let begin = Instant::now();
                let server = Server::spawn(&program, &scratch, "raw");
                let mut stream = loop {
                    match UnixStream::connect(server.socket()) {
                        Ok(stream) => break stream,
                        Err(_) => thread::sleep(PAUSE),
                    }
                };
                stream.write_all(&[7; 64]).unwrap();
                stream.read_exact(&mut [0; 64]).unwrap();
                nanoseconds(begin)
            })
        }),
        Contender::ours("Service::ensure, digest remembered", |scratch| {
            let service = service(scratch);
            // The digest of the program is remembered from then on.
            drop(Running::of(service.clone()));
            costs(move || {
                let begin = Instant::now();
                let daemon = ensured(&service);
                let cost = nanoseconds(begin);
                drop(daemon);
                stop(&service);
                cost
            })
        })
        .within(1.5),
    ]
}

fn costs(mut once: impl FnMut() -> f64 + 'static) -> Run {
    Box::new(move |count| (0..count).map(|_| once()).sum())
}

/// Returns a service whose daemon is this program.
fn service(scratch: &Scratch) -> Service {
    let program = Program::own(scratch);
    let root = scratch.unused("root");
    Service::new("benches")
        .unwrap()
        .below(&root)
        .command(program.path, ["service".into(), root.into_os_string()])
        .environment_variable("XDG_CACHE_HOME", program.cache)
}

fn ensured(service: &Service) -> BackendHandle {
    service.ensure(Deadline::after(Duration::from_secs(10))).unwrap()
}

fn stop(service: &Service) {
    service.stop(Deadline::after(Duration::from_secs(10))).unwrap();
}

/// The daemon of a service, stopped when dropped.
struct Running(Service);

impl Running {
    fn start(scratch: &Scratch) -> Self {
        Self::of(service(scratch))
    }

    fn of(service: Service) -> Self {
        ensured(&service);
        Self(service)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop(&self.0);
    }
}
