//! The servers' processes: how one is started, and what it does.

use super::{ours, peer, redis, tarpc, tonic};
use crate::alloc;
use crate::floor::{asynchronous, blocking};
use crate::place::{from_argument, pin, to_argument};
use crate::scratch::Scratch;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running server, killed when dropped. It ends by itself when its standard input does, so it outlives nobody.
pub struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    socket: PathBuf,
}

impl Server {
    /// Starts the server of that name, and waits until it listens.
    pub fn start(scratch: &Scratch, name: &str) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        Self::start_program(&program, scratch, name)
    }

    /// The same, as another copy of this program.
    pub fn start_program(program: &Path, scratch: &Scratch, name: &str) -> Self {
        let socket = scratch.unused("sock");
        let mut child = Command::new(program)
            .args(["serve", name, &to_argument(scratch.server_cpu)])
            .arg(&socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut server = Self { child, output, socket };
        assert_eq!(server.line(), "ready", "the server {name} does not start");
        server
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

    /// How many bytes the server has allocated more than when it was asked first.
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
        // What listens in a child of it goes by the end of its standard input.
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
        "raw-frames" => blocking::serve_each(socket, ready, blocking::answer_frames),
        "raw-tokio" => asynchronous::serve(socket, ready),
        "ours" => ours::serve(socket, ready),
        "ours-inline" => ours::serve_inline(socket, ready),
        "ours-tokio" => ours::serve_tokio(socket, ready),
        "ours-tokio-inline" => ours::serve_tokio_inline(socket, ready),
        "peer" => peer::serve(socket, ready),
        "peer-tokio" => peer::serve_tokio(socket, ready),
        "tarpc" => tarpc::serve(socket, ready),
        "tonic" => tonic::serve(socket, ready),
        _ => panic!("no server is called {name}"),
    }
}

/// Answers each line with what this process holds.
fn until_input_ends() {
    for _question in std::io::stdin().lines().map_while(Result::ok) {
        println!("{}", alloc::held());
    }
}
