//! Foreign text from peers, files and file names: it must neither control a terminal nor forge a line.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::server::TestServer;
use crate::common::terminal::Terminal;
use crate::common::{Daemon, command, run, text};
use running_process::broker::backend_sdk::NotAuthorized;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

/// Text that moves the cursor, erases, prints a green line, hides the rest, begins a line and changes the direction.
const HOSTILE: &str = "x\u{1b}[99A\u{1b}[J\u{1b}[32mthe daemon in the identity file answers\u{1b}[8m\u{9b}2J\u{7f}\
                       \nerror: forged\r\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{2028}\u{e0041}\u{feff}";

const GREEN: &str = "\u{1b}[32m";

/// Runs the command on a terminal that rejects unexpected sequences, and checks that its output has no hostile character.
#[track_caller]
fn at_terminal(arguments: &[&str]) -> (i32, String) {
    let mut terminal = Terminal::open(300, 200);
    let child = terminal.spawn(command().args(arguments));
    let status = terminal.finish(child);
    let written = terminal.written();
    let hostile =
        |char: char| HOSTILE.contains(char) && !char.is_ascii() || matches!(char, '\u{7f}' | '\u{8}');
    assert!(!written.contains(hostile), "{written:?}");
    assert!(!written.contains("\u{1b}[8m") && !written.contains("\u{1b}[99A"), "{written:?}");
    assert!(!written.lines().any(|line| line.starts_with("error: forged")), "{written:?}");
    (status, written)
}

/// Runs the command without a terminal, and checks that foreign text does not look like a line of the command.
#[track_caller]
fn in_pipe(arguments: &[&str]) {
    let finished = run(arguments);
    for text in [finished.text(), &finished.stderr] {
        let hostile =
            |char: char| HOSTILE.contains(char) && (!char.is_ascii() || char.is_control()) && char != '\n';
        assert!(!text.contains(hostile), "{arguments:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{arguments:?}: {text:?}");
    }
}

/// A process that has taken the daemon's socket and whose executable has a hostile name.
struct Impostor(Child);

impl Impostor {
    fn start(daemon: &Daemon) -> Self {
        std::fs::rename(daemon.socket(), daemon.directory.path().join("aside")).unwrap();
        let executable = daemon.directory.path().join(HOSTILE);
        std::fs::copy(env!("CARGO_BIN_EXE_running-process"), &executable).unwrap();
        let mut impostor = Command::new(&executable);
        impostor.arg0("impostor").args(["serve", "--socket"]).arg(daemon.socket());
        impostor.arg("--identity").arg(daemon.directory.path().join("impostor.json"));
        // The daemon holds the lock, so the lock file is removed and the impostor locks a new one.
        std::fs::remove_file(daemon.directory.path().join("cache.sock.lock")).unwrap();
        let (reader, stdout) = std::io::pipe().unwrap();
        let child = impostor.stdout(stdout).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(reader), &mut line).unwrap();
        assert!(line.starts_with("ready"), "{line}");
        Self(child)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn the_name_of_an_impostor_does_not_control_the_terminal() {
    let daemon = Daemon::start();
    let _impostor = Impostor::start(&daemon);
    let identity_file = daemon.identity_file();
    let (status, written) = at_terminal(&["probe", text(&identity_file)]);
    assert_eq!(status, 1, "{written}");
    assert!(written.contains("listens at the endpoint") && written.contains("x\\u{1b}[99A"), "{written}");
    assert!(!written.contains(&format!("{GREEN}the daemon")), "{written:?}");
    for arguments in [
        &["probe", text(&identity_file)][..],
        &["probe", text(&identity_file), "--json"],
        &["call", text(&identity_file), "--protocol", "0xF0CA", "PING"],
        &["load", text(&identity_file), "--protocol", "0xF0CA"],
        &["top", text(&identity_file), "--once"],
    ] {
        assert_eq!(at_terminal(arguments).0, 1, "{arguments:?}");
        in_pipe(arguments);
    }
}

#[test]
fn the_fields_and_the_name_of_an_identity_file_are_escaped() {
    let daemon = Daemon::start();
    let files = [
        daemon.changed_identity_file("exe_path.json", |identity| identity["exe_path"] = HOSTILE.into()),
        daemon.changed_identity_file("boot_id.json", |identity| identity["boot_id"] = HOSTILE.into()),
        daemon
            .changed_identity_file("path.json", |identity| identity["ipc_endpoint"]["path"] = HOSTILE.into()),
        daemon.changed_identity_file("dir.json", |identity| {
            identity["ipc_endpoint"]["path"] = format!("/{HOSTILE}").into();
        }),
        daemon.changed_identity_file("namespace.json", |identity| {
            identity["ipc_endpoint"]["namespace_id"] = HOSTILE.into();
        }),
        daemon.changed_identity_file("instance.json", |identity| identity["instance_id"] = HOSTILE.into()),
        daemon.changed_identity_file("algorithm.json", |identity| {
            identity["exe_hash_algorithm"] = HOSTILE.into();
        }),
        daemon.changed_identity_file("type.json", |identity| identity["pid"] = HOSTILE.into()),
        daemon.changed_identity_file("key.json", |identity| identity[HOSTILE] = HOSTILE.into()),
        daemon.changed_identity_file(HOSTILE, |_| {}),
        text(&daemon.directory.path().join(format!("{HOSTILE} missing"))).to_owned(),
    ];
    for file in &files {
        for arguments in [
            &["probe", file][..],
            &["probe", file, "--json"],
            // The image is digested once with the other algorithm, which takes seconds on a busy machine.
            &["call", file, "--protocol", "0xF0CA", "--deadline", "50s", "PING"],
            &["load", file, "--protocol", "0xF0CA", "--requests", "1"],
            &["top", file, "--once"],
            &["decode", file],
            &["decode", file, "--json"],
            &["man", file],
        ] {
            let (status, _) = at_terminal(arguments);
            // A payload is printed unchanged.
            if (arguments[0], status) != ("call", 0) {
                in_pipe(arguments);
            }
        }
    }
}

#[test]
fn the_text_of_a_refusal_is_escaped() {
    let refuses = TestServer::start(|server| {
        server.authorize(|_| Err(NotAuthorized::new(HOSTILE))).serve(0xF00D, |_| Ok(Vec::new()))
    });
    let fails =
        TestServer::start(|server| server.serve(0xF00D, |_| Err::<Vec<u8>, _>(HOSTILE.to_owned().into())));
    for daemon in [&refuses, &fails] {
        let identity_file = daemon.identity_file();
        for command in [
            &["call", &identity_file, "--protocol", "0xF00D", "x"][..],
            &["call", &identity_file, "--protocol", "0xF00D", "x", "--json"],
            &["load", &identity_file, "--protocol", "0xF00D", "--warm-up", "0s", "--requests", "1"],
            &["load", &identity_file, "--protocol", "0xF00D", "--requests", "1", "--json"],
        ] {
            assert_eq!(at_terminal(command).0, 1);
            in_pipe(command);
        }
    }
    assert_eq!(at_terminal(&["top", &refuses.identity_file(), "--once"]).0, 1);
}

#[test]
fn a_payload_is_escaped_on_a_terminal_and_unchanged_in_a_pipe() {
    let daemon = TestServer::start(|server| server.serve(0xF00D, |request| Ok(request.payload().to_vec())));
    let identity_file = daemon.identity_file();
    let payload = format!("one\r\n\ttwo\n{HOSTILE}");
    let arguments = ["call", &identity_file, "--protocol", "0xF00D", &payload];
    assert_eq!(run(&arguments).stdout, payload.as_bytes());
    let mut terminal = Terminal::open(300, 50);
    let child =
        terminal.spawn(command().args(["call", &identity_file, "--protocol", "0xF00D", "one\n\u{1b}[2Jtwo"]));
    assert_eq!(terminal.finish(child), 0);
    assert_eq!(terminal.screen.text(), "one\n\\u{1b}[2Jtwo");
}

#[test]
fn the_messages_of_serve_are_escaped() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join(HOSTILE);
    std::fs::create_dir(&directory).unwrap();
    let at = |name: &str| text(&directory.join(name)).to_owned();
    // The whole path exceeds the limit, not only the name.
    in_pipe(&["serve", "--socket", &at(&"s".repeat(200)), "--identity", &at("r")]);
    in_pipe(&["serve", "--socket", &at("missing/s"), "--identity", &at("r")]);
    let is_short = at("s").len() < 100;
    let socket = if is_short { at("s") } else { at("missing/s") };
    let mut terminal = Terminal::open(300, 50);
    let mut serve = command();
    serve.args(["serve", "--socket", &socket, "--identity", &at("r")]);
    let mut child = terminal.spawn(&mut serve);
    if is_short {
        terminal.read_until(|terminal| terminal.written().contains("ready"));
        assert!(Path::new(&socket).exists());
        child.kill().unwrap();
        child.wait().unwrap();
    } else {
        assert_eq!(terminal.finish(child), 2);
    }
}

#[test]
fn a_hostile_file_of_a_service_is_escaped() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(HOSTILE);
    let escape = |char| format!("\\U{:08x}", u32::from(char));
    let escaped = HOSTILE.chars().map(escape).collect::<Vec<_>>().concat();
    let below = format!("name = 'hostile-text'\ncommand = ['true']\ndirectory = '/'\nkey = \"{escaped}\"\n");
    // A look at a service that was never started changes nothing.
    std::fs::write(&file, &below).unwrap();
    let status = ["status", "--file", text(&file)];
    let (code, shown) = at_terminal(&status);
    assert!(code == 1 && shown.contains("hostile-text with key "), "{shown}");
    in_pipe(&status);
    in_pipe(&["status", "--json", "--file", text(&file)]);
    for wrong in [format!("\"{escaped}\" = 1"), format!("command = [\"./{escaped}\"]"), HOSTILE.to_owned()] {
        std::fs::write(&file, format!("name = 'hostile-text'\n{wrong}\n")).unwrap();
        for command in ["start", "stop", "restart", "status"] {
            let arguments = [command, "--file", text(&file)];
            assert_eq!(at_terminal(&arguments).0, 2);
            in_pipe(&arguments);
            in_pipe(&[&arguments[..], &["--json"]].concat());
        }
    }
}
