//! Fronts that do not serve, and say why.

use super::{ECHO, Front, file, free_address, installed, upstream};
use crate::common::service::{Services, ends, signal};
use crate::common::text;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};

#[track_caller]
fn start_fails(services: &Services, file: &str, words: &[&str]) {
    services.run(&["start", "--file", file]).fails_with(1, words);
}

#[test]
fn a_stranger_at_the_address_is_named_and_left_alone() {
    if !installed(&["socat"]) {
        return;
    }
    let services = Services::new();
    let socket = upstream(&services);
    let stranger = UnixListener::bind(&socket).unwrap();
    let command = ECHO.replace("SOCKET", text(&socket));
    let file = file(&services, &command, &format!("unix:{}", socket.display()));
    let named = format!("because: process {} (", std::process::id());
    let listens = format!(") listens at unix:{}, where the fronted daemon belongs", socket.display());
    start_fails(
        &services,
        &file,
        &[&named, &listens, "end that process, or give the fronted daemon another address"],
    );
    drop(stranger);
    // Remove what socat leaves.
    Front::start(services, file);
}

#[test]
fn a_stranger_at_the_port_is_named() {
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", stranger.local_addr().unwrap());
    let services = Services::new();
    let file = file(&services, "['sleep', '1000']", &address);
    let named = format!("because: process {} (", std::process::id());
    start_fails(
        &services,
        &file,
        &[&named, &format!(") listens at {address}, where the fronted daemon belongs")],
    );
}

/// A process that listens, and at which no further connection finds room. It ends with this value.
struct Full {
    process: Child,
    _waiting: Vec<Box<dyn Read>>,
}

impl Full {
    /// Lets socat listen at `address`, in its own words, which `connect` reaches.
    fn listen<S: Read + Write + 'static>(address: &str, connect: impl Fn() -> io::Result<S>) -> Self {
        let mut command = Command::new("socat");
        let process = command.args([&format!("{address},fork,backlog=0"), "EXEC:cat"]).spawn().unwrap();
        let served = loop {
            if let Ok(mut stream) = connect() {
                stream.write_all(b"x").unwrap();
                stream.read_exact(&mut [0]).unwrap();
                break stream;
            }
            std::thread::yield_now();
        };
        signal("STOP", process.id());
        // A backlog of 0 has room for one.
        Self { process, _waiting: vec![Box::new(served), Box::new(connect().unwrap())] }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn a_stranger_that_accepts_no_connection_any_more_is_a_stranger_as_well() {
    if !installed(&["socat"]) {
        return;
    }
    let services = Services::new();
    let socket = upstream(&services);
    let full = Full::listen(&format!("UNIX-LISTEN:{}", text(&socket)), || UnixStream::connect(&socket));
    let address = format!("unix:{}", socket.display());
    let listens = format!("listens at {address}, where the fronted daemon belongs");
    let service = file(&services, "['sleep', '1000']", &address);
    start_fails(&services, &service, &["another process ", &listens]);
    drop(full);

    let free = free_address();
    let (ip, port) = (free.ip(), free.port());
    let full = Full::listen(&format!("TCP-LISTEN:{port},bind={ip}"), || TcpStream::connect(free));
    let listens = format!("listens at tcp:{free}, where the fronted daemon belongs");
    let service = file(&services, "['sleep', '1000']", &format!("tcp:{free}"));
    start_fails(&services, &service, &[&format!("process {} (", full.process.id()), &listens]);
}

#[test]
fn a_stranger_that_takes_the_address_is_refused() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    let socket = upstream(&front.services);
    std::fs::remove_file(&socket).unwrap();
    let stranger = UnixListener::bind(&socket).unwrap();
    let mut client = front.connect();
    client.write_all(b"secret").unwrap();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    let mut received = Vec::new();
    let (mut stream, _) = stranger.accept().unwrap();
    stream.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"", "the stranger got what was not meant for it");
    let named = format!("process {} (", std::process::id());
    front.logs(&named);
}

#[test]
fn a_daemon_that_does_not_start_is_told_with_its_output() {
    let services = Services::new();
    let address = format!("unix:{}", upstream(&services).display());
    let start = |command: &str, words: &[&str]| {
        let services = Services::new();
        let file = file(&services, command, &address);
        start_fails(&services, &file, words);
    };
    start("['/no/such/program']", &["the program /no/such/program of the fronted daemon"]);
    start(
        "['no-such-program']",
        &["the program no-such-program of the fronted daemon was not found", "PATH"],
    );
    start("['sh', '-c', 'echo no database >&2; exit 3']", &["exit status: 3", "| no database"]);
    start("['true']", &["ended before it listened at unix:", "stays in the foreground"]);
}

#[test]
fn a_daemon_that_does_not_listen_is_ended_by_a_stop() {
    let services = Services::new();
    let file = file(&services, "['sleep', '1000']", &format!("unix:{}", upstream(&services).display()));
    services.json(2, &["start", "--file", &file, "--deadline", "500ms"]);
    let front = services.json(1, &["status", "--file", &file]);
    assert_eq!(front["state"], "starting");
    let front = crate::common::service::pid(&front);
    let fronted = std::fs::read_to_string(format!("/proc/{front}/task/{front}/children")).unwrap();
    services.json(0, &["stop", "--file", &file]);
    ends(front);
    ends(fronted.trim().parse().unwrap());
}

#[test]
fn a_service_that_is_no_front_is_refused() {
    let services = Services::new();
    let file = services.cache("cache", "");
    services
        .run(&["front", "--service", &file])
        .fails_with(2, &["the table `front` is missing", "docs/front.md"]);
    services.run(&["front", "--service", "/no/such/file"]).fails_with(2, &["cannot be read"]);
}
