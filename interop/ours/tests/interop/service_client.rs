//! The published Python client against a daemon of ours that refuses a request.
//!
//! `run.sh` installs it; without it, or without a network for it, this test says so and is skipped.

use super::support::skip::wheels;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use running_process::broker::backend_sdk::Server;
use running_process::broker::protocol::{Endpoint, Refusal, RefusalReason};

/// Deadline that only a hang reaches.
const DEADLINE: Duration = Duration::from_secs(120);

/// A process that is killed when this is dropped.
struct Client {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(python: &Path, home: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../field/client.py");
        let mut command = Command::new("timeout");
        command.arg("--kill-after=1").arg(DEADLINE.as_secs().to_string()).arg(python).arg(script).arg(home);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        for variable in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR"] {
            command.env(variable, home);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        self.lines.next().expect("the client goes on").unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The client skips a frame of another payload protocol than its request's, so it does not see the refusal, and it has no
/// timeout of its own. It sees the end of the connection.
#[test]
fn a_service_client_of_the_wheel_hears_of_a_refusal_only_when_its_connection_ends() {
    let Some(programs) = wheels("INTEROP_FIELD") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut client = Client::start(&programs.join("python3"), home.path());
    let (socket, record) = (client.line(), client.line());
    std::fs::create_dir_all(Path::new(&socket).parent().unwrap()).unwrap();

    let (ready, is_ready) = mpsc::channel();
    let server = Server::bind(Endpoint::unix_socket("refused", socket).unwrap())
        .unwrap()
        .identity_file(record)
        .on_ready(move |_| ready.send(()).unwrap())
        .serve_inline(0x7A63, |request| match request.payload() {
            b"refuse" => Err(Refusal::new(RefusalReason::Overloaded, "no room").into()),
            payload => Ok(payload.to_ascii_uppercase()),
        });
    let stop = server.stop_handle();
    let running = std::thread::spawn(move || server.run());
    is_ready.recv_timeout(DEADLINE).unwrap();
    client.child.stdin.take().unwrap().write_all(b"begin\n").unwrap();
    // The answers come in the order of the requests, so the refusal has come when the third does.
    assert_eq!(client.line(), "1 FIRST");
    assert_eq!(client.line(), "3 THIRD");
    stop.stop();
    assert_eq!(client.line(), "2 service connection lost");
    assert!(client.child.wait().unwrap().success());
    running.join().unwrap().unwrap();
}
