//! Errors about input that is wrong in a known way: they name it, and their hints can be followed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::server::TestServer;
use crate::common::service::{Services, await_that, pid, signal};
use crate::common::{Finished, finish, text};
use running_process::broker::backend_sdk::HandlerError;
use running_process::broker::protocol::{Refusal, RefusalReason};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Returns the command line in backquotes or behind `words` in the hint, as a person would copy it.
#[track_caller]
fn behind<'a>(finished: &'a Finished, words: &str) -> &'a str {
    let rest = finished.stderr.split_once(words).unwrap_or_else(|| panic!("{words:?}: {finished:?}")).1;
    rest.lines().next().unwrap()
}

#[track_caller]
fn lacks(finished: &Finished, words: &str) {
    assert!(!finished.stderr.contains(words), "{words:?} is in {}", finished.stderr);
}

#[test]
fn a_restart_without_a_command_does_not_claim_that_no_daemon_runs() {
    let services = Services::new();
    let file = services.configure_cache("cache", "");
    let started = services.json(0, &["start", "cache"]);
    let aside = services.path("aside");
    fs::rename(&file, &aside).unwrap();
    for arguments in [&["restart", "cache"][..], &["restart", "cache", "--stop-first"]] {
        let restart = services.run(arguments);
        restart.fails_with(
            1,
            &[
                "error: cache was not restarted, and nothing was stopped\n",
                "because: the service has no command to start a daemon\n",
                "describe it in a file with its `name`, `key` and `command`",
            ],
        );
        lacks(&restart, "no daemon");
        assert_eq!(services.json_lines(1, arguments).pop().unwrap()["kind"], "no_command");
    }
    assert_eq!(services.json(0, &["status", "cache"])["pid"], started["pid"]);
    services.json(0, &["stop", "cache"]);
    services.run(&["start", "cache"]).fails_with(1, &["cache has no daemon", "has no command"]);
    fs::rename(&aside, &file).unwrap();
}

#[test]
fn a_hint_about_a_path_names_only_options_that_the_command_has() {
    let services = Services::new();
    for command in [
        &["probe", "nofile.json"][..],
        &["call", "nofile.json", "--protocol", "0xF0CA", "PING"],
        &["load", "nofile.json", "--protocol", "0xF0CA", "PING"],
        &["top", "nofile.json"],
    ] {
        let failed = services.run(command);
        failed.fails_with(
            2,
            &["no identity file nofile.json", "hint: give the path of the daemon's identity file"],
        );
        lacks(&failed, "--file");
    }
    let ps = services.run(&["ps", "nofile.json"]);
    ps.fails_with(2, &["hint: give the name of a service, not a file"]);
    lacks(&ps, "--file");
    for command in ["start", "stop", "restart", "status", "logs", "doctor"] {
        let failed = services.run(&[command, "no file.toml"]);
        failed.fails_with(2, &["hint: to name the file of a service: --file 'no file.toml'\n"]);
        let failed = services.run(&[command, "--file", "no file.toml"]);
        lacks(&failed, "unexpected argument");
    }
}

#[test]
fn an_unusable_identity_file_of_a_service_is_named_with_the_way_to_mend_it() {
    type Spoil = fn(&Path);
    let spoilt: [(bool, Spoil); 4] = [
        (true, |path| fs::write(path, "").unwrap()),
        (true, |path| fs::write(path, "garbage").unwrap()),
        (false, |path| fs::create_dir(path).unwrap()),
        (false, |path| {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
        }),
    ];
    for (runs, spoil) in spoilt {
        let services = Services::new();
        services.configure_cache("cache", "");
        let daemon = services.json(0, &["start", "cache"]);
        let path = services.root().join("cache/identity.json");
        if !runs {
            services.json(0, &["stop", "cache"]);
        }
        spoil(&path);
        let named = format!("because: the identity file {} of the service cannot be used\n", path.display());
        for command in ["start", "stop", "status", "restart"] {
            let failed = services.run(&[command, "cache"]);
            failed.fails_with(
                2,
                &[&named, "hint: move it away: mv ", "running-process doctor cache tells more"],
            );
            lacks(&failed, "name the file itself");
        }
        services.run(&["ps"]).fails_with(2, &[]);
        let failed = services.run(&["stop", "cache"]);
        let remedy = behind(&failed, "move it away: ").split(';').next().unwrap();
        let moved = std::process::Command::new("sh").args(["-c", remedy]).status().unwrap();
        assert!(moved.success(), "{remedy}");
        // A daemon does not notice that its file was changed, and writes it again once it is moved.
        if runs {
            await_that("identity file", || path.is_file());
            assert_eq!(services.json(0, &["stop", "cache"])["pid"], daemon["pid"]);
        }
        services.json(0, &["start", "cache"]);
    }
}

#[test]
fn a_process_that_listens_by_a_relative_path_is_named() {
    let services = Services::new();
    let file = services.configure_cache("cache", "");
    services.json(0, &["start", "cache"]);
    services.json(0, &["stop", "cache"]);
    let socket = services.root().join("cache/socket");
    let depth = std::env::current_dir().unwrap().components().count() - 1;
    let relative = "../".repeat(depth) + text(&socket).trim_start_matches('/');
    let listener = UnixListener::bind(relative).unwrap();
    let process = format!("process {} (", std::process::id());
    let start = services.run(&["start", "cache"]);
    start.fails_with(1, &[&format!("hint: {process}"), "listens at its socket"]);
    let findings = services.json_lines(1, &["doctor", "--file", text(&file)]);
    let foreign: Vec<_> = findings.iter().filter(|finding| finding["id"] == "foreign_listener").collect();
    assert_eq!(foreign.len(), 1, "{findings:?}");
    assert_eq!(
        (&foreign[0]["pid"], &foreign[0]["path"]),
        (&std::process::id().into(), &text(&socket).into())
    );
    // The socket is not one that a daemon left behind.
    services.run(&["doctor", "--fix", "--file", text(&file)]);
    assert!(socket.exists());
    drop(listener);
}

#[test]
fn a_process_that_never_served_is_not_said_to_have_served() {
    let services = Services::new();
    let file = services.file("sleeper", "command = ['sleep', '1000']");
    services.run(&["start", "--file", &file, "--deadline", "300ms"]).fails_with(2, &["it is starting"]);
    let status = services.json(1, &["status", "--file", &file]);
    let stopped = services.run(&["stop", "--file", &file]);
    let first = format!("stopped: process {} was to serve sleeper and has ended, after ", pid(&status));
    assert!(stopped.text().starts_with(&first), "{stopped:?}");
    assert!(stopped.text().contains("\n  it had not begun to serve "), "{stopped:?}");
    for words in ["served", "drained"] {
        assert!(!stopped.text().contains(words), "{stopped:?}");
    }
}

#[test]
fn a_socket_in_the_place_of_an_identity_file_leads_to_one() {
    let server = TestServer::start(|server| server.serve(0xF00D, |_| Ok(b"pong".to_vec())));
    let socket = server.endpoint().path;
    let services = Services::new();
    for command in [
        &["call", &socket, "--protocol", "0xF00D", "x"][..],
        &["load", &socket, "--protocol", "0xF00D", "x"],
        &["top", &socket],
    ] {
        let failed = services.run(command);
        failed.fails_with(2, &[&format!("error: {socket} is a socket, and no identity file\n")]);
        lacks(&failed, "link or a directory");
        let hint =
            behind(&failed, "running-process probe ").replace("FILE", text(&services.path("kept.json")));
        let words: Vec<&str> = ["probe"].into_iter().chain(hint.split(' ')).collect();
        assert_eq!(services.run(&words).status, 0, "{words:?}");
    }
    let call = services.run(&["call", text(&services.path("kept.json")), "--protocol", "0xF00D", "x"]);
    assert_eq!((call.status, call.text()), (0, "pong"), "{call:?}");
}

#[test]
fn a_refusal_without_a_reason_code_is_told_with_the_daemons_text() {
    let server = TestServer::start(|server| {
        server.serve(0xF00D, |_| {
            let refusal = Refusal::new(RefusalReason::Unspecified, "the text is not \u{1b}[8mUTF-8");
            Err::<Vec<u8>, _>(HandlerError::Refused(refusal))
        })
    });
    let file = server.identity_file();
    let told = "the daemon gives no reason code; its text is \"the text is not \\u{1b}[8mUTF-8\"";
    let call = finish(crate::common::command().args(["call", &file, "--protocol", "0xF00D", "x"]));
    call.fails_with(1, &[&format!("because: {told}\n")]);
    lacks(&call, "does not know");
    let load = finish(crate::common::command().args([
        "load",
        &file,
        "--protocol",
        "0xF00D",
        "--requests",
        "2",
        "--warm-up",
        "0s",
        "x",
    ]));
    assert!(load.status == 1 && load.text().contains(told), "{load:?}");
}

#[test]
fn conform_tells_why_it_cannot_connect() {
    let services = Services::new();
    let conform = |socket: &str| services.run(&["conform", "--socket", socket]);
    let path = |name: &str| text(&services.path(name)).to_owned();
    fs::write(path("file"), "").unwrap();
    fs::create_dir(path("directory")).unwrap();
    for name in ["file", "directory"] {
        let failed = conform(&path(name));
        failed.fails_with(
            2,
            &["is not a stream socket", "hint: give --socket the path of the daemon's socket"],
        );
        lacks(&failed, "os error");
    }
    let long = conform(&path(&"s".repeat(200)));
    long.fails_with(2, &["hint: give the daemon a shorter path"]);
    lacks(&long, "os error");
    conform(&path("missing")).fails_with(2, &["there is no endpoint at", "hint: start the daemon first"]);
    drop(UnixListener::bind(path("ended")).unwrap());
    conform(&path("ended")).fails_with(2, &["no process listens at", "hint: start the daemon first"]);
    let listener = UnixListener::bind(path("full")).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(path("full")).unwrap();
    let full = conform(&path("full"));
    full.fails_with(2, &["is full", "hint: the daemon is overloaded or stopped: try again later"]);
    lacks(&full, "os error");
    for (option, hint) in [
        ("--expect", "hint: name a TOML file with a line for each case: case-name = \"reason\""),
        ("--junit", "hint: give --junit a file in a directory that you can write"),
    ] {
        let server = TestServer::start(|server| server.serve(0xF00D, |_| Ok(b"pong".to_vec())));
        let socket = server.endpoint().path;
        let only = ["conform", "--socket", &socket, "--only", "probe-answered", option, &path("directory")];
        services.run(&only).fails_with(2, &[hint]);
    }
    let started = path("started");
    let judged =
        ["conform", "--junit", &path("directory"), "--", "sh", "-c", "touch \"$0\"; exec sleep 60", &started];
    services.run(&judged).fails_with(2, &["hint: give --junit a file in a directory that you can write"]);
    assert!(!Path::new(&started).exists(), "the daemon was started");
    for (program, hint) in [
        (path("missing"), "hint: check the path, and for a script the interpreter in its first line"),
        ("no-such-program".to_owned(), "hint: give its path, or put its directory into PATH"),
        (path("directory"), "hint: name a program file that you may execute"),
    ] {
        for conform in [&["conform"][..], &["conform", "--client"]] {
            let failed = services.run(&[conform, &["--", &program]].concat());
            failed.fails_with(2, &[&format!("{program} cannot be run"), hint]);
        }
    }
}

#[test]
fn a_number_or_a_duration_that_is_none_is_told_in_plain_words() {
    let services = Services::new();
    for (arguments, told) in [
        (["top", "cache", "--count=-1"], "a whole number is needed, 1 or more"),
        (["top", "cache", "--count=0"], "a whole number is needed, 1 or more"),
        (["load", "cache", "--connections=-1"], "a whole number is needed, from 1 to 100000"),
        (
            ["probe", "cache", "--deadline=-1s"],
            "a duration is a number with a unit, for example 300ms or 10s",
        ),
    ] {
        services.run(&arguments).fails_with(2, &[told]);
    }
}

#[test]
fn foreign_text_in_an_error_is_escaped_once_and_has_no_style() {
    let services = Services::new();
    let named = services.run(&["start", "a\u{1b}[8mb"]);
    named.fails_with(2, &["no service is called \"a\\u{1b}[8mb\", there is none yet"]);
    let file = services.cache("cache", "key = \"k\\u001b[8m\"");
    let started = services.run(&["start", "--file", &file]);
    assert!(started.text().contains("cache with key \"k\\u{1b}[8m\" at "), "{started:?}");

    for arguments in [
        &["\u{1b}[8mX"][..],
        &["--\u{1b}[8mX"],
        &["top", "cache", "--count", "\u{1b}[8m1"],
        &["completions", "\u{1b}[8mX"],
        &["start", "cache", "\u{1b}[8mX"],
    ] {
        for colours in ["0", "1"] {
            let failed = finish(services.command(arguments).env("CLICOLOR_FORCE", colours));
            failed.fails_with(2, &["error", "\\u{1b}[8m"]);
            lacks(&failed, "\u{1b}[8m");
        }
        let failed = services.run(&[&["--json"], arguments].concat());
        let error: serde_json::Value = serde_json::from_str(&failed.stderr).unwrap();
        assert!(error["error"].as_str().unwrap().contains("\\u{1b}[8m"), "{error}");
    }
}

#[test]
fn a_root_that_is_not_for_services_has_none_and_is_not_to_be_made_private() {
    let services = Services::new();
    fs::create_dir_all(services.root().join("games")).unwrap();
    fs::set_permissions(services.root(), fs::Permissions::from_mode(0o755)).unwrap();
    services.configure_cache("cache", "");
    for arguments in [&["ps"][..], &["start", "cache"], &["doctor"]] {
        let failed = services.run(arguments);
        failed.fails_with(2, &["hint: set RUNNING_PROCESS_DIR to a directory for this alone"]);
        lacks(&failed, "chmod");
        assert!(!failed.text().contains("games"), "{failed:?}");
    }
    let doctor = services.run(&["doctor", "cache"]);
    assert!(!doctor.text().contains("chmod"), "{doctor:?}");
}

#[test]
fn a_refused_endpoint_leaves_no_lock() {
    let services = Services::new();
    fs::write(services.path("file"), "").unwrap();
    fs::create_dir(services.path("directory")).unwrap();
    for name in ["file", "directory"] {
        let socket = services.path(name);
        let identity = services.path("identity.json");
        let serve = services.run(&["serve", "--socket", text(&socket), "--identity", text(&identity)]);
        serve.fails_with(2, &["is not a stream socket"]);
        assert!(!services.path(&format!("{name}.lock")).exists() && !identity.exists());
    }
}

#[test]
fn a_daemon_that_a_signal_has_stopped_is_told_by_every_command_that_asks_it() {
    let services = Services::new();
    services.configure_cache("cache", "");
    let daemon = pid(&services.json(0, &["start", "cache"]));
    signal("STOP", daemon);
    let deadline = "--deadline=300ms";
    for arguments in [
        &["probe", "cache", deadline][..],
        &["call", "cache", "--protocol", "0xF0CA", deadline, "PING"],
        &["load", "cache", "--protocol", "0xF0CA", deadline, "PING"],
        &["top", "cache", deadline],
    ] {
        services.run(arguments).fails_with(
            2,
            &[
                &format!("because: process {daemon} is stopped by a signal\n"),
                &format!("hint: to let it go on: kill -CONT {daemon}\n"),
            ],
        );
        let failure = services.json_lines(2, arguments).pop().unwrap();
        let error = if failure["error"].is_object() { &failure["error"] } else { &failure };
        assert_eq!(error["kind"], "timed_out", "{failure}");
    }
    signal("CONT", daemon);
    assert_eq!(services.run(&["probe", "cache"]).status, 0);
}

#[test]
fn a_key_that_is_given_twice_and_a_directory_that_is_none_have_their_own_hints() {
    let services = Services::new();
    let file = services.cache("cache", "version = '1'\nversion = '2'");
    services.run(&["start", "--file", &file]).fails_with(2, &["hint: each key is given once"]);

    fs::write(services.path("file"), "").unwrap();
    let mut ps = services.command(&["ps"]);
    ps.env("XDG_CONFIG_HOME", services.path("file"));
    finish(&mut ps).fails_with(2, &["hint: set XDG_CONFIG_HOME to a directory, or unset it"]);

    services.configure_cache("cache", "");
    fs::write(services.path("configuration/systemd"), "").unwrap();
    services.run(&["install", "cache"]).fails_with(2, &["hint: ", "--print shows the units"]);
}

#[test]
fn the_synopsis_of_a_manual_page_has_the_values_of_options() {
    let services = Services::new();
    let directory = services.path("man");
    assert_eq!(services.run(&["man", text(&directory)]).status, 0);
    let page = |name: &str| fs::read_to_string(directory.join(name)).unwrap().replace("\\-", "-");
    let synopsis = "\n\\fBrunning-process call\\fR [OPTIONS] --protocol <ID> <NAME|FILE> [PAYLOAD]\n";
    assert!(page("running-process-call.1").contains(synopsis), "{}", page("running-process-call.1"));
    assert!(page("running-process.1").contains("\n\\fBrunning-process\\fR [OPTIONS] <COMMAND>\n"));
}
