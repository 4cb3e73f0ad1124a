//! The servers' processes.

use super::{capnp, ours, peer, redis, shmipc, tarpc, tonic, ttrpc, zlink};
use crate::alloc;
use crate::floor::{asynchronous, blocking, descriptor};
use crate::place::{from_argument, pin, to_argument};
use crate::scratch::Scratch;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The program of a server, and its folder for remembered digests.
#[derive(Clone)]
pub struct Program {
    pub path: PathBuf,
    pub cache: PathBuf,
}

impl Program {
    pub fn own(scratch: &Scratch) -> Self {
        let path = std::env::current_exe().expect("this program has a path");
        settle(&path);
        Self { path, cache: scratch.cache() }
    }

    /// Returns a copy of this program that is `size` bytes large. It is made once for all rows.
    pub fn padded_to(size: u64, scratch: &Scratch) -> Self {
        let own = Self::own(scratch);
        let path = scratch.path().join(format!("{size}-bytes"));
        if !path.exists() {
            fs::copy(&own.path, &path).expect("room for a copy");
            let mut copy = File::options().append(true).open(&path).expect("it was copied");
            let padding = size.saturating_sub(copy.metadata().expect("it is open").len());
            // Written bytes: a hole would cost less to read.
            io::copy(&mut io::repeat(0x5a).take(padding), &mut copy).expect("room for a copy");
            settle(&path);
        }
        Self { path, ..own }
    }

    /// Returns the same program without remembered digests.
    pub fn forgetful(self, scratch: &Scratch) -> Self {
        Self { cache: scratch.unused("cache"), ..self }
    }
}

/// Waits until a file is old enough for its digest to be remembered: a later change would show in
/// its times.
fn settle(file: &Path) {
    const SETTLED: Duration = Duration::from_millis(200);
    let written = file.metadata().and_then(|metadata| metadata.modified()).expect("it is there");
    thread::sleep(SETTLED.saturating_sub(written.elapsed().unwrap_or_default()));
}

/// A running server, killed when dropped. It also ends when its standard input does, so it never outlives its parent.
pub struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    socket: PathBuf,
}

impl Server {
    /// Starts the server of that name and waits until it listens.
    pub fn start(scratch: &Scratch, name: &str) -> Self {
        Self::start_program(&Program::own(scratch), scratch, name)
    }

    /// Starts the server of that name as another program and waits until it listens.
    pub fn start_program(program: &Program, scratch: &Scratch, name: &str) -> Self {
        let mut server = Self::spawn(program, scratch, name);
        assert_eq!(server.line(), "ready", "the server {name} does not start");
        server
    }

    /// Starts the server without waiting.
    pub fn spawn(program: &Program, scratch: &Scratch, name: &str) -> Self {
        let socket = scratch.unused("sock");
        let mut child = Command::new(&program.path)
            .args(["serve", name, &to_argument(scratch.server_cpu)])
            .arg(&socket)
            .env("XDG_CACHE_HOME", &program.cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, output, socket }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).expect("the server listens")
    }

    /// Returns the bytes that the server holds beyond those of the first call.
    pub fn held(&mut self) -> i64 {
        writeln!(self.child.stdin.as_ref().expect("it is piped")).expect("the server lives");
        self.line().parse().expect("a number")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the server prints");
        line.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A child of the server that listens ends at the end of its standard input.
        drop(self.child.stdin.take());
        let _best_effort = self.child.wait();
    }
}

/// Runs the server of that name, until standard input ends.
pub fn serve(name: &str, cpu: &str, socket: &Path) {
    pin(from_argument(cpu));
    if name == "redis" {
        let mut redis = redis::serve(socket, || println!("ready"));
        until_input_ends();
        let _best_effort = redis.kill().and_then(|()| redis.wait());
        return;
    }
    std::thread::spawn(|| {
        until_input_ends();
        std::process::exit(0);
    });
    let ready = || println!("ready");
    match name {
        "raw" => blocking::serve_each(socket, ready, blocking::echo),
        "raw-large" => blocking::serve_each(socket, ready, blocking::answer_large),
        "raw-upload" => blocking::serve_each(socket, ready, blocking::receive_largest),
        "raw-events" => blocking::serve_each(socket, ready, blocking::send_events),
        "raw-descriptor" => descriptor::serve(socket, ready),
        "raw-frames" => blocking::serve_each(socket, ready, blocking::answer_frames),
        "raw-tokio" => asynchronous::serve(socket, ready),
        "ours" => ours::serve(socket, ready),
        "ours-inline" => ours::serve_inline(socket, ready),
        "ours-tokio" => ours::serve_tokio(socket, ready),
        "ours-tokio-threads" => ours::serve_tokio_threads(socket, ready),
        "ours-tokio-inline" => ours::serve_tokio_inline(socket, ready),
        "peer" => peer::serve(socket, ready),
        "peer-tokio" => peer::serve_tokio(socket, ready),
        "ttrpc" => ttrpc::serve(socket, ready),
        "ttrpc-tokio" => ttrpc::serve_tokio(socket, ready),
        "zlink" => zlink::serve(socket, ready),
        "capnp" => capnp::serve(socket, ready),
        "shmipc" => shmipc::serve(socket, ready),
        "tarpc" => tarpc::serve(socket, ready),
        "tonic" => tonic::serve(socket, ready),
        _ => panic!("no server is called {name}"),
    }
}

/// Answers each line with the bytes that this process holds.
fn until_input_ends() {
    for _question in std::io::stdin().lines().map_while(Result::ok) {
        println!("{}", alloc::held());
    }
}
