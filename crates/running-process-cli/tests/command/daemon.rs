//! `serve`, `probe` and `call` with a real daemon, and with everything that can be wrong.
#![cfg(unix)]

use crate::common::{Daemon, command, finish, kill, run, run_with_input, text};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_running_daemon_is_proven() {
    let daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let probe = run(&["probe", text(&identity_file)]);
    assert_eq!(probe.status, 0, "{probe:?}");
    let rows = [
        ("proven", "boot"),
        ("proven", "process"),
        ("proven", "connection"),
        ("proven", "listener"),
        ("claimed", "answer"),
        ("proven", "writer"),
        ("proven", "image"),
        ("proven", "alive"),
    ];
    for (verdict, step) in rows {
        let row = format!("\n  {verdict:<10}{step:<14} ");
        assert!(probe.text().contains(&row), "{step}: {probe:?}");
    }
    assert!(
        probe.text().contains("the daemon in the identity file answers: held through the kernel"),
        "{probe:?}"
    );
}

#[test]
fn each_policy_takes_a_daemon_of_this_library() {
    let daemon = Daemon::start();
    for policy in ["default", "strict", "lenient"] {
        let probe = run(&["probe", text(&daemon.identity_file()), "--policy", policy]);
        assert_eq!(probe.status, 0, "{policy}: {probe:?}");
    }
    run(&["probe", text(&daemon.identity_file()), "--policy", "naive"]).fails_with(2, &["strict"]);
}

#[test]
fn an_identity_file_of_a_published_peer_is_proven_unless_the_policy_asks_for_more() {
    let daemon = Daemon::start();
    let older = daemon.changed_identity_file("older.json", |identity| {
        for own in ["kernel_start_time", "instance_id", "pid_namespace", "inherited_listener"] {
            identity.as_object_mut().unwrap().remove(own);
        }
    });
    let probe = run(&["probe", &older]);
    assert_eq!(probe.status, 0, "{probe:?}");
    assert!(probe.text().contains("its identity file has no start time"), "{probe:?}");
    let strict = run(&["probe", &older, "--policy", "strict"]);
    strict
        .fails_with(2, &["the identity has no start time, and the policy asks for one", "--policy default"]);
}

#[test]
fn programs_get_every_step_as_json() {
    let daemon = Daemon::start();
    let probe = run(&["probe", "--json", text(&daemon.identity_file())]);
    let objects = probe.objects();
    assert_eq!((objects.len(), probe.status), (1, 0));
    assert_eq!(objects[0]["verdict"], "yes");
    assert_eq!(objects[0]["identity"]["pid"], daemon.child.id());
    assert_eq!(objects[0]["proof"]["level"], "held");
    assert_eq!(objects[0]["proof"]["listener"], "own");
    let steps = objects[0]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 9);
    assert!(steps.iter().all(|step| step["verdict"] == "proven" || step["step"] == "answer"), "{steps:?}");
}

#[test]
fn an_identity_file_of_another_process_gives_status_one() {
    let daemon = Daemon::start();
    let altered = daemon.identity_file_of_another_process();
    let probe = run(&["probe", &altered]);
    assert_eq!(probe.status, 1);
    assert!(probe.text().contains("\n  refused   process        "), "{probe:?}");
    probe.fails_with(1, &["could not be verified", "was used again", "hint: the identity file is outdated"]);
    run(&["call", &altered, "--protocol", "0xF0CA", "PING"])
        .fails_with(1, &["nothing was sent", "was used again", "hint:"]);
}

#[test]
fn an_impostor_that_repeats_the_identity_is_named_in_the_error() {
    let daemon = Daemon::start();
    fs::rename(daemon.socket(), daemon.directory.path().join("aside")).unwrap();
    let _impostor = std::os::unix::net::UnixListener::bind(daemon.socket()).unwrap();
    let probe = run(&["probe", text(&daemon.identity_file())]);
    let named = format!("process {} (", std::process::id());
    let expected = format!("the identity names process {}", daemon.child.id());
    probe.fails_with(1, &[&named, "listens at the endpoint", &expected, "look at it and end it, then start"]);
    assert!(probe.text().contains("\n  refused   listener       "), "{probe:?}");
}

#[test]
fn a_call_prints_the_payload_and_nothing_else() {
    let daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let call = |payload: &str| run(&["call", text(&identity_file), "--protocol", "0xF0CA", payload]);
    assert_eq!(call("SET greeting hello").stdout, b"+OK\r\n");
    assert_eq!(call("GET greeting").stdout, b"$5\r\nhello\r\n");
    let piped = run_with_input(&["call", text(&identity_file), "--protocol", "61642"], b"GET greeting");
    assert_eq!((piped.status, &*piped.stdout, &*piped.stderr), (0, &b"$5\r\nhello\r\n"[..], ""));
    let json =
        run(&["call", "--json", text(&identity_file), "--protocol", "0xF0CA", "GET greeting"]).objects();
    assert_eq!(json[0]["payload_text"], "$5\r\nhello\r\n");
    assert_eq!(json[0]["payload_protocol"], 0xF0CA);
}

#[test]
fn payloads_of_any_bytes_are_unchanged() {
    let daemon = Daemon::start();
    let value: Vec<u8> = (0..=255).collect();
    let mut set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).into_bytes();
    set.extend_from_slice(&value);
    set.extend_from_slice(b"\r\n");
    let identity_file = daemon.identity_file();
    let arguments = ["call", text(&identity_file), "--protocol", "0xF0CA"];
    assert_eq!(run_with_input(&arguments, &set).stdout, b"+OK\r\n");
    let get = run_with_input(&arguments, b"GET k");
    assert_eq!(get.stdout, [&b"$256\r\n"[..], &value, b"\r\n"].concat());
}

#[test]
fn each_failed_call_has_its_hint() {
    let daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let call = |protocol: &str| run(&["call", text(&identity_file), "--protocol", protocol, "PING"]);
    call("0xF0CB")
        .fails_with(1, &["the payload protocol is not served", "is 0xF0CB the right payload protocol?"]);
    call("0xB232").fails_with(2, &["0xB232 is reserved for the wire itself", "hint:"]);
    call("cache").fails_with(2, &["a payload protocol is a number"]);
    let too_large =
        run_with_input(&["call", text(&identity_file), "--protocol", "0xF0CA"], &vec![b'x'; 17 << 20]);
    too_large.fails_with(2, &["the cap is 16777216", "a frame carries at most"]);
    run(&["call", text(&identity_file)]).fails_with(2, &["--protocol"]);
    let zero = run(&["call", text(&identity_file), "--protocol", "0xF0CA", "--deadline", "0s", "PING"]);
    zero.fails_with(2, &["longer than 0s"]);
}

#[test]
fn each_unusable_identity_file_has_its_hint() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.json");
    let file = text(&path);
    for command in [&["probe", file][..], &["call", file, "--protocol", "0xF0CA", "PING"]] {
        fs::remove_file(&path).unwrap_or_default();
        run(command).fails_with(2, &["there is no identity file", "hint:"]);
        fs::write(&path, "pid: 1").unwrap();
        run(command).fails_with(2, &["not an identity", "line 1 column 1", "hint:"]);
        fs::write(&path, r#"{"pid": "one"}"#).unwrap();
        run(command).fails_with(2, &["invalid type", "hint:"]);
        fs::write(&path, "[]").unwrap();
        run(command).fails_with(2, &["not an identity", "hint:"]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        run(command).fails_with(2, &["mode 666 lets other users write it", "chmod 600"]);
    }
    run(&["probe", text(directory.path())]).fails_with(2, &["not a regular file"]);
    run(&["probe", "/dev/zero"]).fails_with(2, &["not a regular file"]);
}

#[test]
fn a_daemon_that_has_ended_gives_status_one() {
    let mut daemon = Daemon::start();
    let identity_file = daemon.identity_file();
    let kept = daemon.directory.path().join("kept.json");
    fs::copy(&identity_file, &kept).unwrap();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    let probe = run(&["probe", text(&kept)]);
    probe.fails_with(1, &["is gone: no process has that pid", "start it again"]);
    assert!(probe.text().contains("\n  refused   process        "), "{probe:?}");
    run(&["call", text(&kept), "--protocol", "0xF0CA", "PING"]).fails_with(1, &["is gone", "start it again"]);
    let json = run(&["probe", "--json", text(&kept)]);
    assert_eq!(json.objects()[0]["verdict"], "no");
    let error = &json.objects()[0]["error"];
    assert_eq!((&error["kind"], &error["status"]), (&"gone".into(), &1.into()));
    assert!(error["hint"].as_str().unwrap().contains("start it again"));
    assert_eq!(json.stderr, "", "the object has the error");
}

#[test]
fn the_deadline_ends_the_probe_of_a_stopped_daemon() {
    let daemon = Daemon::start();
    kill("STOP", daemon.child.id());
    let probe = run(&["probe", text(&daemon.identity_file()), "--deadline", "50ms"]);
    let hint = if cfg!(target_os = "linux") { "to let it go on: kill -CONT " } else { "--deadline" };
    probe.fails_with(2, &["did not prove itself in time", hint]);
}

#[test]
fn an_environment_variable_can_disable_probes() {
    let daemon = Daemon::start();
    let probe =
        finish(command().arg("probe").arg(daemon.identity_file()).env("RUNNING_PROCESS_DISABLE", "1"));
    probe.fails_with(2, &["switched off by RUNNING_PROCESS_DISABLE=1", "unset the variable"]);
}

#[test]
fn an_endpoint_or_identity_file_that_cannot_be_used_fails_the_start() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let serve =
        |socket: &str, identity_file: &str| run(&["serve", "--socket", socket, "--identity", identity_file]);
    let identity_file = directory.join("other.json");
    serve(text(&daemon.socket()), text(&identity_file)).fails_with(2, &["is in use", "hint:"]);
    let file = directory.join("file");
    fs::write(&file, "precious").unwrap();
    serve(text(&file), text(&identity_file)).fails_with(2, &["exists and is not a stream socket"]);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    serve(text(&directory.join("missing/s")), text(&identity_file))
        .fails_with(2, &["directory of", "does not exist"]);
    let long = directory.join("x".repeat(200));
    serve(text(&long), text(&identity_file)).fails_with(2, &["the limit here is", "shorter path"]);
    serve(text(&directory.join("s")), text(&directory.join("missing/r")))
        .fails_with(2, &["the identity file", "cannot be written"]);
    serve("", text(&identity_file)).fails_with(2, &["hint:"]);
}

#[test]
fn a_daemon_that_is_stopped_removes_its_files_and_gives_status_zero() {
    let mut daemon = Daemon::start_with(&["--json"]);
    let ready: serde_json::Value = serde_json::from_str(&daemon.ready).unwrap();
    assert_eq!((&ready["event"], &ready["schema_version"]), (&"ready".into(), &2.into()));
    assert_eq!(ready["pid"], daemon.child.id());
    kill("TERM", daemon.child.id());
    assert!(daemon.child.wait().unwrap().success());
    assert!(!daemon.socket().exists() && !daemon.identity_file().exists());
}

/// Runs `serve` with this identity file in a private directory, and returns the directory.
fn serve_with(identity_file: &str) -> (tempfile::TempDir, crate::common::Finished) {
    let directory = tempfile::tempdir().expect("a directory can be created");
    let path = |name: &str| directory.path().join(name);
    fs::write(path("notes"), "precious").expect("a file can be written");
    let mut serve = command();
    serve.arg("serve").arg("--socket").arg(path("s")).arg("--identity").arg(path(identity_file));
    let finished = finish(&mut serve);
    (directory, finished)
}

#[test]
fn an_unusable_identity_path_is_refused_before_any_file_is_created() {
    for (identity_file, message) in [
        ("notes", "not an identity"),
        (".", "not a regular file"),
        ("s", "the path of the endpoint's socket or lock"),
        ("s.lock", "the path of the endpoint's socket or lock"),
    ] {
        let (directory, finished) = serve_with(identity_file);
        finished.fails_with(2, &[message, "hint:", "--identity"]);
        let left: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes"], "{identity_file}");
        assert_eq!(fs::read_to_string(directory.path().join("notes")).unwrap(), "precious");
    }
}

#[test]
fn a_second_daemon_does_not_replace_the_identity_file_of_the_first() {
    let daemon = Daemon::start();
    let before = fs::read(daemon.identity_file()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut serve = command();
    serve
        .arg("serve")
        .arg("--socket")
        .arg(directory.path().join("s"))
        .arg("--identity")
        .arg(daemon.identity_file());
    let owner = format!("the daemon of process {}", daemon.child.id());
    finish(&mut serve).fails_with(2, &[&owner, "hint: give each daemon"]);
    assert_eq!(fs::read(daemon.identity_file()).unwrap(), before);
    assert_eq!(run(&["probe", text(&daemon.identity_file())]).status, 0);
}

#[test]
fn a_directory_that_others_can_write_fails_the_start() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o775)).unwrap();
    let mut serve = command();
    let path = |name: &str| directory.path().join(name);
    serve.arg("serve").arg("--socket").arg(path("s")).arg("--identity").arg(path("r.json"));
    finish(&mut serve).fails_with(2, &["mode 775", "make it 700", "hint:"]);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_masked_boot_id_fails_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let script = "mount --bind /dev/null /proc/sys/kernel/random/boot_id || exit 77; exec \"$0\" \"$@\"";
    let own = command();
    let mut serve = std::process::Command::new("unshare");
    serve.args(["-m", "sh", "-c", script]).arg(own.get_program()).arg("serve");
    let path = |name: &str| directory.path().join(name);
    serve.arg("--socket").arg(path("s")).arg("--identity").arg(path("r.json"));
    let finished = finish(&mut serve);
    if finished.status == 77 || finished.stderr.contains("unshare") {
        eprintln!("skipped: mounting needs root ({})", finished.stderr.trim());
        return;
    }
    finished.fails_with(2, &["boot_id is empty", "masked"]);
    assert!(!path("r.json").exists() && !path("s").exists());
}
