//! The service client of the wheel, at daemons of ours.

use super::*;
use crate::support::Running;
use running_process::broker::backend_sdk::Server;
use running_process::broker::protocol::{Refusal, RefusalReason};
use std::sync::mpsc;

/// The client's process, with the socket and the identity file at which it looks for its daemon.
struct Client {
    process: Running,
    socket: PathBuf,
    file: PathBuf,
}

impl Client {
    /// Starts a client for a payload protocol, which starts its daemon by `command` if there is one.
    #[track_caller]
    fn start(field: &Field, payload_protocol: u32, command: &[&str]) -> Self {
        let mut script = field.script("client.py");
        script.arg(field.home.path()).arg(payload_protocol.to_string()).args(command);
        let mut process = Running::spawn(&mut script);
        let [socket, file] =
            [".sock", ".json"].map(|end| PathBuf::from(process.line(|line| line.ends_with(end))));
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        process.write_line("begin");
        Self { process, socket, file }
    }

    #[track_caller]
    fn told(&mut self, line: &str) {
        self.process.line(|told| told == line);
    }

    #[track_caller]
    fn send(&mut self, payload: &str) {
        self.process.write_line(payload);
    }

    /// Sends a request, again while no daemon answers, and returns the first line of the answer.
    #[track_caller]
    fn ask(&mut self, payload: &str) -> String {
        loop {
            self.send(payload);
            let line = self.process.line(|line| line.contains(' '));
            match line.split_once(' ') {
                Some((_, "not sent" | "service connection lost")) => {}
                Some((_, answer)) => return answer.to_owned(),
                None => unreachable!("the line has a space"),
            }
        }
    }
}

/// The client skips a frame of another payload protocol than its request's, so it does not see the refusal, and it has no
/// timeout of its own. It sees the end of the connection.
#[test]
fn a_service_client_of_the_wheel_hears_of_a_refusal_only_when_its_connection_ends() {
    let Some(field) = Field::installed() else { return };
    let mut client = Client::start(&field, 0x7A63, &[]);
    client.told("down");
    // Without a daemon a request is not even queued.
    client.send("early");
    client.told("-1 not sent");

    let (ready, is_ready) = mpsc::channel();
    let endpoint = Endpoint::unix_socket("refused", client.socket.to_str().unwrap()).unwrap();
    let server = Server::bind(endpoint)
        .unwrap()
        .identity_file(&client.file)
        .on_ready(move |_| ready.send(()).unwrap())
        .serve_inline(0x7A63, |request| match request.payload() {
            b"refuse" => Err(Refusal::new(RefusalReason::Overloaded, "no room").into()),
            payload => Ok(payload.to_ascii_uppercase()),
        });
    let stop = server.stop_handle();
    let running = std::thread::spawn(move || server.run());
    is_ready.recv_timeout(DEADLINE).unwrap();
    client.told("up");
    for payload in ["first", "refuse", "third"] {
        client.send(payload);
    }
    // The answers come in the order of the requests, so the refusal has come when the third does.
    client.told("1 FIRST");
    client.told("3 THIRD");
    stop.stop();
    client.told("2 service connection lost");
    assert!(client.process.end_with_input().success);
    running.join().unwrap().unwrap();
}

#[test]
fn a_service_client_of_the_wheel_starts_a_daemon_of_ours_and_another_after_its_death() {
    let Some(field) = Field::installed() else { return };
    // In the home, so that it ends with the test.
    let daemon = field.path("daemon");
    fs::copy(running_process().get_program(), &daemon).unwrap();
    let serve = [daemon.to_str().unwrap(), "serve", "--socket", "SOCKET", "--identity", "FILE"];
    let mut client = Client::start(&field, 0xF0CA, &serve);
    client.told("up");
    client.send("SET greeting hello");
    client.told("1 +OK");
    let [first, second] = ["$5", "$-1"].map(|greeting| {
        assert_eq!(client.ask("GET greeting"), greeting);
        let identity = try_read_daemon_identity_file(&client.file).unwrap().unwrap();
        let endpoint = &identity.ipc_endpoint;
        let handle = BackendHandle::probe_with_service("interop", "1", endpoint, &identity).unwrap();
        handle.force_kill().unwrap();
        identity
    });
    assert_ne!(first.pid, second.pid);
    assert!(client.process.end_with_input().success);
}
