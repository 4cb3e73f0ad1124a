//! `ps --all`, and `probe` of a socket without an identity file.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::service::Services;
use crate::common::terminal::Terminal;
use crate::common::{Daemon, finish, run, text};
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;
use serde_json::Value;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The largest length of a probe's request.
const PROBE_BYTES: usize = 56;
const NOBODY: u32 = 65_534;

/// The treatment of a connection.
type Behaviour = fn(&UnixStream);

/// The first bytes that arrived on a connection to a socket.
#[derive(Debug)]
struct Received {
    socket: &'static str,
    bytes: Vec<u8>,
}

/// Sockets of this process, and what they receive.
struct Sockets {
    directory: TempDir,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Sockets {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), received: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Listens at the path `name`, and answers each connection by `behaviour` once bytes have arrived.
    fn listen(&self, name: &'static str, behaviour: impl Fn(&UnixStream) + Send + Copy + 'static) -> PathBuf {
        let path = self.path(name);
        self.serve(name, UnixListener::bind(&path).unwrap(), behaviour);
        path
    }

    fn serve(
        &self,
        name: &'static str,
        listener: UnixListener,
        behaviour: impl Fn(&UnixStream) + Send + Copy + 'static,
    ) {
        let received = self.received.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, received) = (stream.unwrap(), received.clone());
                thread::spawn(move || {
                    let mut bytes = vec![0; 4096];
                    let length = (&stream).read(&mut bytes).unwrap_or_default();
                    bytes.truncate(length);
                    received.lock().unwrap().push(Received { socket: name, bytes });
                    behaviour(&stream);
                });
            }
        });
    }

    /// Relays each connection to the socket at `to`.
    fn relay(&self, name: &str, to: PathBuf) -> PathBuf {
        let path = self.path(name);
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, daemon) = (client.unwrap(), UnixStream::connect(&to).unwrap());
                let (mut from_client, mut to_daemon) =
                    (client.try_clone().unwrap(), daemon.try_clone().unwrap());
                thread::spawn(move || {
                    let _ended = io::copy(&mut from_client, &mut to_daemon);
                    let _closed = to_daemon.shutdown(Shutdown::Write);
                });
                thread::spawn(move || io::copy(&mut &daemon, &mut &client));
            }
        });
        path
    }

    /// Returns how many connections each socket has had, after checking that they brought at most a probe.
    fn connections(&self, name: &str) -> usize {
        let received = self.received.lock().unwrap();
        let of_socket: Vec<_> = received.iter().filter(|received| received.socket == name).collect();
        assert!(of_socket.iter().all(|received| received.bytes.len() <= PROBE_BYTES), "{of_socket:?}");
        of_socket.len()
    }
}

/// Keeps the connection until the peer closes it.
fn silent(mut stream: &UnixStream) {
    let _ended = stream.read(&mut [0]);
}

fn flood(mut stream: &UnixStream) {
    while stream.write_all(&[b'x'; 4096]).is_ok() {}
}

/// Begins a frame and never ends it.
fn drip(mut stream: &UnixStream) {
    let header = [1, 200, 0, 0, 0];
    let mut sent = stream.write_all(&header);
    while sent.is_ok() {
        // The interval between two bytes.
        thread::sleep(Duration::from_millis(10));
        sent = stream.write_all(&[0]);
    }
}

fn close(_stream: &UnixStream) {}

fn redis(mut stream: &UnixStream) {
    let _sent = stream.write_all(b"-ERR Protocol error: unauthenticated multibulk length\r\n");
}

#[track_caller]
fn at<'v>(objects: &'v [Value], socket: &Path) -> &'v Value {
    let found = objects.iter().find(|object| object["socket"] == text(socket));
    found.unwrap_or_else(|| panic!("{} is not among {objects:#?}", socket.display()))
}

/// Runs a test in a network namespace of its own, in which no sockets but its own are found and asked.
fn in_a_network_namespace(test: &str) {
    let root = geteuid().is_root();
    let flags: &[&str] = if root { &["--net"] } else { &["--user", "--map-root-user", "--net"] };
    if !Command::new("unshare").args(flags).arg("true").output().is_ok_and(|made| made.status.success()) {
        eprintln!("skipped: this user cannot unshare a network namespace");
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(flags).arg(std::env::current_exe().unwrap());
    let finished = finish(unshare.args(["--exact", test, "--ignored", "--nocapture"]));
    assert!(finished.status == 0 && finished.text().contains("1 passed"), "{finished:#?}");
}

#[test]
fn other_sockets_are_listed_and_none_of_them_is_asked() {
    let (services, sockets) = (Services::new(), Sockets::new());
    services.start(&services.cache("known", ""));
    let path = sockets.listen("silent", silent);
    let name = format!("running-process test {}\u{1b}[31m", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();

    let objects = services.json_lines(0, &["ps", "--all"]);
    let silent = at(&objects, &path);
    assert_eq!(silent["owners"][0]["pid"], std::process::id());
    assert_eq!(silent["owners"][0]["program"], text(&std::env::current_exe().unwrap()));
    assert_eq!((&silent["uid"], &silent["asked"]), (&geteuid().as_raw().into(), &false.into()));
    assert!(silent.get("verdict").is_none() && silent.get("identity").is_none());
    at(&objects, Path::new(&format!("@{name}")));
    let root = services.root();
    let of_service = |object: &&Value| {
        object.get("label").is_none() && object["socket"].as_str().unwrap().starts_with(text(&root))
    };
    assert_eq!(objects.iter().find(of_service), None, "those of known services are not repeated");

    let listed = services.run(&["ps", "--all"]);
    let line = listed.text().lines().find(|line| line.starts_with(text(&path))).unwrap();
    assert!(line.contains(&std::process::id().to_string()), "{line}");
    assert!(!listed.text().contains('\u{1b}'));
    assert_eq!(sockets.connections("silent"), 0);
    services.run(&["ps", "--ask"]).fails_with(2, &["--all"]);
    services.run(&["ps", "--all", "--watch"]).fails_with(2, &["--watch"]);
}

#[test]
fn sockets_of_this_user_are_asked_once_and_what_they_are_is_shown() {
    in_a_network_namespace("other_sockets::every_kind_of_socket");
}

#[test]
#[ignore = "what the test above runs in a network namespace"]
fn every_kind_of_socket() {
    let (services, sockets, daemon) = (Services::new(), Sockets::new(), Daemon::start());
    let silent = sockets.listen("silent", silent);
    let flood = sockets.listen("flood", flood);
    let drip = sockets.listen("drip", drip);
    let close = sockets.listen("close", close);
    let redis = sockets.listen("redis", redis);
    let proxy = sockets.relay("proxy", daemon.socket());
    let unlinked = sockets.listen("unlinked", self::silent);
    fs::remove_file(&unlinked).unwrap();
    let foreign = foreign_socket(&sockets);

    let began = Instant::now();
    let objects = services.json_lines(0, &["ps", "--all", "--ask"]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "two of these take a second each, at the same time: {took:?}");

    let proven = at(&objects, &daemon.socket());
    assert_eq!((&proven["verdict"], &proven["proof"]), (&"yes".into(), &"held".into()));
    assert_eq!(
        (&proven["identity"]["pid"], &proven["leads_here"]),
        (&daemon.child.id().into(), &true.into())
    );
    let contradicted = at(&objects, &proxy);
    assert_eq!(
        (&contradicted["verdict"], &contradicted["error"]["kind"]),
        (&"no".into(), &"impostor".into())
    );
    assert_eq!(contradicted["identity"]["pid"], daemon.child.id());
    assert_eq!((&contradicted["leads_here"], &contradicted["proof"]), (&false.into(), &Value::Null));
    for (path, kind) in [
        (&silent, "timed_out"),
        (&drip, "timed_out"),
        (&flood, "no_probe_answer"),
        (&redis, "no_probe_answer"),
        (&close, "closed"),
    ] {
        let object = at(&objects, path);
        let shown = (&object["asked"], &object["verdict"], &object["error"]["kind"], &object["identity"]);
        assert_eq!(
            shown,
            (&true.into(), &"undecided".into(), &kind.into(), &Value::Null),
            "{}",
            path.display()
        );
    }
    for name in ["silent", "flood", "drip", "close", "redis"] {
        assert_eq!(sockets.connections(name), 1, "{name}");
    }
    assert_eq!(at(&objects, &unlinked)["asked"], false, "its path leads nowhere");
    if let Some(foreign) = foreign {
        assert_eq!(at(&objects, &foreign)["asked"], false);
        assert_eq!(sockets.connections("foreign"), 0, "sockets of other users are not asked");
    }

    // At a terminal the columns fit, and in every width the proof is there before the program.
    for width in [40, 80, 200] {
        let mut terminal = Terminal::open(width, 60);
        let child = terminal.spawn(&mut services.command(&["ps", "--all", "--ask"]));
        assert_eq!(terminal.finish(child), 0);
        let written = terminal.written();
        assert!(written.contains("SOCKET"), "{written}");
        if width >= 80 {
            assert!(written.contains("held") && written.contains("contradicted"), "{width}: {written}");
        }
    }
}

/// Makes a socket of another user; `None` if only root could.
fn foreign_socket(sockets: &Sockets) -> Option<PathBuf> {
    if fs::read_to_string("/proc/self/uid_map").unwrap().split_whitespace().nth(2) == Some("1") {
        eprintln!("skipped: only root can make a socket of another user");
        return None;
    }
    let directory = sockets.path("of-all");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(sockets.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.join("foreign");
    let bound = path.clone();
    let listener = thread::spawn(move || {
        let nobody = Uid::from_raw(NOBODY);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        UnixListener::bind(bound).unwrap()
    });
    sockets.serve("foreign", listener.join().unwrap(), silent);
    Some(path)
}

#[test]
fn a_process_at_a_socket_is_named_and_its_claim_is_confirmed() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let probe = run(&["probe", text(&socket)]);
    assert_eq!(probe.status, 0, "{probe:?}");
    let pid = daemon.child.id();
    for words in [
        format!("listens       process {pid} of user {}, ", geteuid().as_raw()),
        format!("claims to be  process {pid}, "),
        "  claimed   answer         its own claim".to_owned(),
        "the kernel confirms what it claims: held through the kernel".to_owned(),
        "there is no identity file to compare with".to_owned(),
    ] {
        assert!(probe.text().contains(&words), "{words:?} is not in {}", probe.text());
    }
    let probed = run(&["probe", text(&socket), "--json"]).objects();
    assert_eq!((&probed[0]["verdict"], &probed[0]["proof"]["level"]), (&"yes".into(), &"held".into()));
    assert_eq!((&probed[0]["listener"]["pid"], &probed[0]["identity"]["pid"]), (&pid.into(), &pid.into()));
    assert_eq!((&probed[0]["leads_here"], &probed[0]["written"]), (&true.into(), &Value::Null));
}

#[test]
fn a_confirmed_claim_is_kept_as_an_identity_file() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let file = daemon.directory.path().join("kept.json");
    let probe = run(&["probe", text(&socket), "--write", text(&file)]);
    assert_eq!(probe.status, 0, "{probe:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&file).unwrap(), fs::read(daemon.identity_file()).unwrap());
    assert_eq!(run(&["probe", text(&file)]).status, 0);
    // The same identity may be written again.
    assert_eq!(run(&["probe", text(&socket), "--write", text(&file)]).status, 0);

    // The file of a daemon that has ended is replaced, that of one that lives is not.
    let other = Daemon::start();
    let before = fs::read(other.identity_file()).unwrap();
    let refused = run(&["probe", text(&socket), "--write", text(&other.identity_file())]);
    let whose = format!("the identity file of process {}", other.child.id());
    refused
        .fails_with(2, &["nothing was written", &whose, "which may live", "hint: give --write another file"]);
    assert_eq!(fs::read(other.identity_file()).unwrap(), before);
    let old = daemon.directory.path().join("old.json");
    fs::copy(other.identity_file(), &old).unwrap();
    drop(other);
    assert_eq!(run(&["probe", text(&socket), "--write", text(&old)]).status, 0);
    assert_eq!(fs::read(&old).unwrap(), fs::read(&file).unwrap());

    let garbage = daemon.directory.path().join("garbage");
    fs::write(&garbage, "garbage").unwrap();
    run(&["probe", text(&socket), "--write", text(&garbage)]).fails_with(2, &["was not written", "hint:"]);
    assert_eq!(fs::read(&garbage).unwrap(), b"garbage");
    run(&["probe", text(&file), "--write", text(&garbage)]).fails_with(2, &["is not a socket"]);
}

#[test]
fn a_proxy_is_contradicted_and_its_claim_is_not_kept() {
    let (daemon, sockets) = (Daemon::start(), Sockets::new());
    let proxy = sockets.relay("proxy", daemon.socket());
    let file = sockets.path("identity.json");
    let probe = run(&["probe", text(&proxy), "--write", text(&file)]);
    let named = format!("process {} (", std::process::id());
    let claimed = format!("the identity names process {}", daemon.child.id());
    probe
        .fails_with(1, &["is not confirmed by the kernel", &named, &claimed, "hint: it answers for another"]);
    assert!(probe.text().contains("  refused   listener "), "{probe:?}");
    assert!(probe.text().contains("another endpoint than this"), "{probe:?}");
    assert!(!file.exists());
}

#[test]
fn a_claim_about_another_endpoint_is_told_and_not_kept() {
    let daemon = Daemon::start();
    let moved = daemon.directory.path().join("moved");
    fs::rename(daemon.socket(), &moved).unwrap();
    let probe = run(&["probe", text(&moved)]);
    assert_eq!(probe.status, 0, "{probe:?}");
    assert!(probe.text().contains("another endpoint than this"), "{probe:?}");
    let file = daemon.directory.path().join("kept.json");
    run(&["probe", text(&moved), "--write", text(&file)])
        .fails_with(2, &["nothing was written", "leads clients to", "hint:"]);
    assert!(!file.exists());
    // Another name of the same socket is as good.
    let link = daemon.directory.path().join("link");
    std::os::unix::fs::symlink(&moved, daemon.socket()).unwrap();
    std::os::unix::fs::symlink(&moved, &link).unwrap();
    assert_eq!(run(&["probe", text(&link), "--write", text(&file)]).status, 0);
}

#[test]
fn a_socket_that_says_nothing_of_itself_is_undecided_and_one_without_a_process_is_not_there() {
    let sockets = Sockets::new();
    let named = format!("listens       process {} of user", std::process::id());
    let cases: [(&str, Behaviour, &str); 4] = [
        ("silent", silent, "in time"),
        ("drip", drip, "in time"),
        ("close", close, "closed the connection"),
        ("redis", redis, "is not a frame"),
    ];
    for (name, behaviour, why) in cases {
        let path = sockets.listen(name, behaviour);
        let probe = run(&["probe", text(&path), "--deadline", "300ms"]);
        probe.fails_with(2, &["did not say what it is", why, "hint: it "]);
        assert!(probe.text().contains(&named), "{probe:?}");
        assert_eq!(sockets.connections(name), 1);
    }
    let dead = sockets.path("dead");
    drop(UnixListener::bind(&dead).unwrap());
    run(&["probe", text(&dead)])
        .fails_with(1, &["cannot be asked", "hint: the process that made the socket"]);
    let missing = sockets.path("missing");
    run(&["probe", text(&missing)]).fails_with(2, &["there is no identity file"]);
    run(&["probe", "--socket", text(&missing)])
        .fails_with(1, &["cannot be asked", "hint: no socket is there"]);
    run(&["probe", "--socket", "a\nb"]).fails_with(1, &["cannot be asked"]);
    let long = "x".repeat(300);
    run(&["probe", "--socket", &long]).fails_with(2, &["cannot be asked", "300"]);
    run(&["probe", "--socket", ""]).fails_with(2, &["a value is required"]);
}
