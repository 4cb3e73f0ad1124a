//! The state of the daemon.

use super::machine::{Diagnosis, Machine, arguments, is_root, pid_of};
use crate::common::service::{await_that, ends, signal};
use crate::common::{Daemon, text};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::write_daemon_identity_file;
use running_process::broker::protocol::Endpoint;
use running_process::{Server, Service};
use serde_json::Value;
use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::mpsc;

/// Returns the name of the service's state.
fn state(machine: &Machine) -> Value {
    let status = machine.services.run(&["status", "--json", "--file", &machine.file()]);
    status.objects()[0]["state"].clone()
}

#[test]
fn what_a_killed_daemon_left_is_removed_under_the_lock() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    machine.lacks("stale_files");
    signal("KILL", pid);
    ends(pid);
    let finding = machine.finds("stale_files");
    assert_eq!(pid_of(&finding), pid);
    let fixed = Diagnosis::of(machine.doctor().arg("--fix"));
    let changed: Vec<(&str, &str)> = fixed
        .changes
        .iter()
        .map(|change| {
            (change["change"].as_str().unwrap(), change["path"].as_str().unwrap().rsplit('/').next().unwrap())
        })
        .collect();
    let expected =
        [("write", "starts.json"), ("remove", "identity.json"), ("remove", "socket"), ("remove", "control")];
    assert_eq!(changed, expected, "{fixed:#?}");
    assert!(!machine.place("identity.json").exists() && !machine.place("socket").exists());
    assert!(machine.place("lock").exists(), "the lock is never removed");
    machine.lacks("stale_files");
    machine.lacks("start_failed");
    // The crash is counted, as a start would have done.
    let starts: Value = serde_json::from_slice(&fs::read(machine.place("starts.json")).unwrap()).unwrap();
    assert_eq!((&starts["failures"], &starts["failure"]["end"]), (&1.into(), &"crashed".into()));
    machine.services.start(&file);
}

#[test]
fn the_log_of_a_crash_is_that_of_the_last_run() {
    let machine = Machine::new();
    let file = machine.script(r#"echo one run >&2; exec "$0" serve --service "$1""#, "");
    for _ in 0..2 {
        let pid = machine.services.start(&file);
        signal("KILL", pid);
        ends(pid);
        machine.services.run(&["doctor", "--fix", "--file", &file]);
        let starts: Value = serde_json::from_slice(&fs::read(machine.place("starts.json")).unwrap()).unwrap();
        let log = starts["failure"]["log"].as_str().unwrap();
        assert_eq!(log.matches("one run").count(), 1, "{starts}");
    }
}

#[test]
fn a_process_that_listens_without_an_identity_file_is_named_by_doctor_and_by_the_failed_start() {
    let (machine, file) = Machine::stopped();
    let listener = UnixListener::bind(machine.place("socket")).unwrap();
    let finding = machine.finds("foreign_listener");
    let pid = std::process::id();
    assert_eq!((pid_of(&finding), &finding["severity"]), (pid, &"error".into()));
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("; it runs `") && what.contains("; it is of user "), "{what}");
    let start = machine.services.run(&["start", "--file", &file]);
    start.fails_with(1, &[&format!("hint: process {pid} ("), "listens at its socket"]);
    drop(listener);
    machine.lacks("foreign_listener");
}

#[test]
fn nothing_is_removed_while_a_daemon_starts() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    signal("KILL", pid);
    ends(pid);
    let lock = File::open(machine.place("lock")).unwrap();
    lock.lock().unwrap();
    let fixed = Diagnosis::of(machine.doctor().arg("--fix"));
    assert!(fixed.changes.iter().all(|change| change["event"] != "change"), "{fixed:#?}");
    assert!(machine.place("identity.json").exists());
}

#[test]
fn another_process_at_the_socket_is_named_and_the_service_works_once_it_is_ended() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    // It would notice the loss of its socket's name.
    signal("STOP", pid);
    let mut other = Daemon::start();
    fs::rename(other.socket(), machine.place("socket")).unwrap();
    let finding = machine.finds("impostor");
    assert_eq!(pid_of(&finding), other.child.id());
    let stopped = machine.finds("stopped_by_signal");
    let order = format!("1. end process {}, which is in its place, 2. ", other.child.id());
    assert!(stopped["what"].as_str().unwrap().contains(&order), "{stopped}");
    let status = machine.services.run(&["status", "--file", &file]);
    status.fails_with(1, &["hint: ", &format!("go on: kill -CONT {pid}")]);
    machine.follow(&finding);
    other.child.wait().unwrap();
    signal("CONT", pid);
    await_that("socket", || machine.services.run(&["status", "--file", &file]).status == 0);
    machine.lacks("impostor");
}

#[test]
fn a_child_that_keeps_the_lock_of_a_dead_daemon_is_named_and_ended() {
    let machine = Machine::new();
    let file = machine.script(r#"sleep 600 & exec "$0" serve --service "$1""#, "");
    let pid = machine.services.start(&file);
    signal("KILL", pid);
    ends(pid);
    let finding = machine.finds("held_by_orphan");
    let orphan = pid_of(&finding);
    assert_eq!(arguments(orphan), "sleep 600 ");
    assert!(finding["what"].as_str().unwrap().contains("/sleep)"), "{finding}");
    machine.follow(&finding);
    ends(orphan);
    machine.lacks("held_by_orphan");
    let pid = machine.services.start(&file);
    signal("KILL", pid);
    machine.follow(&machine.finds("held_by_orphan"));
}

#[test]
fn a_start_that_failed_and_a_crash_loop_show_the_end_of_the_log() {
    let machine = Machine::new();
    let file = machine.script(
        "echo no database >&2; test -e \"$1.mended\" && exec \"$0\" serve --service \"$1\"; exit 3",
        "",
    );
    let start = || machine.services.run(&["start", "--file", &file]);
    assert_eq!(start().status, 1);
    let finding = machine.finds("start_failed");
    assert_eq!(finding["log"], "no database");
    assert!(finding["what"].as_str().unwrap().contains("status 3"), "{finding}");
    assert_eq!((start().status, start().status), (1, 1));
    let finding = machine.finds("crash_loop");
    assert_eq!(finding["log"], "no database");
    let expected = "no database (the daemon exited with status 3 before it served); 3 starts in a row have failed, and none begins before 2";
    assert!(finding["what"].as_str().unwrap().starts_with(expected), "{finding}");
    machine.lacks("start_failed");
    // The cause is corrected, and the pause is over.
    fs::write(format!("{file}.mended"), "").unwrap();
    await_that("end of the pause", || state(&machine) != "backing_off");
    let finding = machine.finds("crash_loop");
    assert!(finding["what"].as_str().unwrap().ends_with("starts are not paused now"), "{finding}");
    machine.follow(&finding);
    machine.lacks("crash_loop");
    assert_eq!(machine.services.run(&["stop", "--file", &file]).status, 0);
    machine.lacks("crash_loop");
}

#[test]
fn a_daemon_that_hangs_at_its_start_is_told_once_nobody_waits_for_it() {
    let machine = Machine::new();
    let file = machine.script("exec sleep 600", "");
    let mut client = machine
        .services
        .command(&["start", "--file", &file])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let starts = || fs::read_to_string(machine.place("starts.json")).unwrap_or_default();
    await_that("start", || {
        starts().contains("\"process_start_time\": ") && !starts().contains("\"pid\": null")
    });
    let finding = machine.finds("starting");
    assert_eq!(pid_of(&finding), client.id());
    assert_eq!(finding["severity"], "note");
    client.kill().unwrap();
    client.wait().unwrap();
    let finding = machine.finds("start_hangs");
    let pid = pid_of(&finding);
    assert_eq!(arguments(pid), "sleep 600 ");
    machine.follow(&finding);
    ends(pid);
    machine.lacks("start_hangs");
}

#[test]
fn a_stopped_daemon_goes_on() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    signal("STOP", pid);
    let finding = machine.finds("stopped_by_signal");
    assert_eq!((pid_of(&finding), &finding["severity"]), (pid, &"error".into()));
    let hint = format!("hint: to let it go on: kill -CONT {pid}");
    let told = format!("process {pid} is stopped by a signal");
    let status = machine.services.run(&["status", "--deadline", "300ms", "--file", &file]);
    status.fails_with(2, &[&told, &hint]);
    let start = machine.services.run(&["start", "--deadline", "300ms", "--file", &file]);
    start.fails_with(2, &[&format!("(process {pid}, which is stopped by a signal)"), &hint]);
    machine.follow(&finding);
    machine.lacks("stopped_by_signal");
}

/// Makes the directory of the service, and an identity file in it that names this process at `endpoint`.
fn identify_this_process(machine: &Machine, endpoint: &Endpoint) {
    DirBuilder::new().recursive(true).mode(0o700).create(machine.place("")).unwrap();
    let identity = DaemonProcess::current_process(endpoint.clone(), None).unwrap();
    write_daemon_identity_file(&machine.place("identity.json"), &identity).unwrap();
}

#[test]
fn a_daemon_that_does_not_answer_is_busy_and_one_without_a_socket_cannot_be_reached() {
    let machine = Machine::new();
    machine.cache("");
    let endpoint = Endpoint::unix_socket(&machine.name, text(&machine.place("socket"))).unwrap();
    identify_this_process(&machine, &endpoint);
    let finding = machine.finds("socket_removed");
    assert_eq!(pid_of(&finding), std::process::id());
    let _never_accepts = UnixListener::bind(&endpoint.path).unwrap();
    let finding = machine.finds("busy");
    assert_eq!(pid_of(&finding), std::process::id());
    fs::remove_file(machine.place("identity.json")).unwrap();
}

#[test]
fn a_daemon_that_drains_is_a_note() {
    let machine = Machine::new();
    machine.cache("");
    let service = Service::new(&machine.name).unwrap().below(machine.services.root());
    let (begun, has_begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let server = Server::for_service(&service).unwrap().serve(0xF00D, move |request| {
        begun.send(()).unwrap();
        may_go.lock().unwrap().recv().unwrap();
        Ok(request.payload().to_vec())
    });
    let stop = server.stop_handle();
    let (ready, is_ready) = mpsc::channel();
    let server = server.on_ready(move |_| ready.send(()).unwrap());
    let server = std::thread::spawn(move || server.run());
    is_ready.recv_timeout(crate::common::WATCHDOG).unwrap();
    let daemon = service.find(std::time::Instant::now() + crate::common::WATCHDOG).unwrap();
    let running_process::broker::service::ServiceState::Live(daemon) = daemon else { panic!("{daemon:?}") };
    let mut client = daemon.into_client();
    let client = std::thread::spawn(move || client.request(0xF00D, b"x".to_vec()).unwrap().payload);
    has_begun.recv_timeout(crate::common::WATCHDOG).unwrap();
    stop.stop();
    // Its socket is removed a moment after it says so.
    await_that("drain", || state(&machine) == "draining" && !machine.place("socket").exists());
    let finding = machine.finds("draining");
    assert_eq!((pid_of(&finding), &finding["severity"]), (std::process::id(), &"note".into()));
    go.send(()).unwrap();
    assert_eq!(client.join().unwrap(), b"x");
    server.join().unwrap().unwrap();
}

#[test]
fn a_replacement_without_its_coordinator_is_named() {
    let machine = Machine::new();
    let file = machine.script(
        r#"test "$RUNNING_PROCESS_HANDOVER" = 1 && exec sleep 600; exec "$0" serve --service "$1""#,
        "",
    );
    let daemon = machine.services.start(&file);
    let mut restart = machine
        .services
        .command(&["restart", "--file", &file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let noted = || fs::read_to_string(machine.place("replacing")).unwrap_or_default();
    let runs_sleep = || {
        let pid = noted().split(' ').next().and_then(|pid| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
        })
    };
    await_that("successor", runs_sleep);
    machine.lacks("abandoned_replacement");
    restart.kill().unwrap();
    restart.wait().unwrap();
    let finding = machine.finds("abandoned_replacement");
    let successor = pid_of(&finding);
    assert_ne!(successor, daemon);
    assert_eq!(arguments(successor), "sleep 600 ");
    machine.follow(&finding);
    machine.lacks("abandoned_replacement");
}

#[test]
fn a_child_that_keeps_the_lock_of_a_replacement_is_named() {
    let machine = Machine::new();
    let script = r#"if test "$RUNNING_PROCESS_HANDOVER" = 1; then sleep 600 & exit 1; fi; exec "$0" serve --service "$1""#;
    let file = machine.script(script, "");
    machine.services.start(&file);
    assert_eq!(machine.services.run(&["restart", "--file", &file]).status, 1);
    let finding = machine.finds("held_by_orphan");
    assert_eq!(arguments(pid_of(&finding)), "sleep 600 ");
    machine.follow(&finding);
    ends(pid_of(&finding));
    machine.lacks("held_by_orphan");
}

#[test]
fn a_daemon_in_another_pid_namespace_cannot_be_told() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let file = machine.cache("");
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--pid",
        "--fork",
        "--kill-child",
        env!("CARGO_BIN_EXE_running-process"),
        "serve",
        "--service",
        &file,
    ]);
    unshare.env("RUNNING_PROCESS_DIR", machine.services.root()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut daemon = unshare.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready: "), "{ready}");
    let finding = machine.finds("other_namespace");
    assert_eq!(pid_of(&finding), 1, "its number in its own namespace");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn a_daemon_that_may_not_be_examined_cannot_be_told() {
    const OTHER: u32 = 65534;
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    machine.cache("");
    let daemon = Daemon::start();
    // The daemon is root's, and the place of the service is the other user's.
    for path in [machine.services.path("."), daemon.directory.path().to_owned()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    DirBuilder::new().recursive(true).mode(0o700).create(machine.place("")).unwrap();
    fs::copy(daemon.identity_file(), machine.place("identity.json")).unwrap();
    let lock = File::create(machine.place("lock")).unwrap();
    lock.lock().unwrap();
    for path in
        [machine.services.root(), machine.place(""), machine.place("identity.json"), machine.place("lock")]
    {
        chown(path, Some(OTHER), Some(OTHER)).unwrap();
    }
    fs::set_permissions(machine.place("lock"), fs::Permissions::from_mode(0o600)).unwrap();
    let finding = machine.finds_by("not_inspectable", |machine| as_user(OTHER, &machine.doctor()));
    assert_eq!(pid_of(&finding), daemon.child.id());
    // Without the permission to connect, nothing at all can be told.
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    machine.finds_by("state_unknown", |machine| as_user(OTHER, &machine.doctor()));
}

/// Returns `command` as another user runs it.
fn as_user(user: u32, command: &Command) -> Command {
    let mut other = Command::new("setpriv");
    other.args([
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".to_owned(),
        "--".to_owned(),
    ]);
    other.arg(command.get_program()).args(command.get_args());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other.env("XDG_CACHE_HOME", "/nowhere");
    other
}

#[test]
fn a_caller_that_has_switched_probes_off_is_told() {
    let machine = Machine::new();
    machine.services.start(&machine.cache(""));
    let finding = machine.finds_by("probes_disabled", |machine| {
        let mut doctor = machine.doctor();
        doctor.env("RUNNING_PROCESS_DISABLE", "1");
        doctor
    });
    assert_eq!(finding["remedy"], "unset RUNNING_PROCESS_DISABLE");
}

#[test]
fn a_front_without_its_daemon_is_told_with_both_processes() {
    let machine = Machine::new();
    let (executable, path) =
        (env!("CARGO_BIN_EXE_running-process"), |name| machine.services.path(name).display().to_string());
    let front = format!(
        "[front]\ncommand = ['{executable}', 'serve', '--socket', '{}', '--identity', '{}']\nconnect = 'unix:{}'",
        path("behind"),
        path("behind.json"),
        path("behind"),
    );
    let file = machine.services.file(&machine.name, &front);
    let pid = machine.services.start(&file);
    machine.lacks("fronted_gone");
    let identity: Value = serde_json::from_slice(&fs::read(machine.place("identity.json")).unwrap()).unwrap();
    let behind = u32::try_from(identity["fronts"]["pid"].as_u64().unwrap()).unwrap();
    // It would end with the daemon behind it.
    signal("STOP", pid);
    signal("KILL", behind);
    ends(behind);
    let finding = machine.finds("fronted_gone");
    assert_eq!(pid_of(&finding), behind);
    assert_eq!(pid_of(&machine.finds("stopped_by_signal")), pid);
    signal("CONT", pid);
    ends(pid);
    machine.services.start(&file);
    machine.lacks("fronted_gone");
}
