//! `start`, `stop`, `status` and `serve --service` with real daemons.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

#[cfg(target_os = "linux")]
use crate::common::service::ends;
use crate::common::service::{Services, await_ready, pid, signal};
use crate::common::{collect, finish, run, text};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

#[test]
fn a_second_start_finds_the_daemon_of_the_first() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let first = services.json(0, &["start", "--file", &file]);
    assert_eq!((&first["service"], &first["started"]), (&"cache".into(), &true.into()));
    let second = services.json(0, &["start", "--file", &file]);
    assert_eq!((&second["pid"], &second["started"]), (&first["pid"], &false.into()));
    assert_eq!(second["socket"], first["socket"]);
    let text = services.run(&["start", "--file", &file]);
    let expected = format!("runs already: process {} serves cache at ", first["pid"]);
    assert!(text.status == 0 && text.text().starts_with(&expected), "{text:?}");

    let status = services.json(0, &["status", "--file", &file]);
    assert_eq!((&status["state"], &status["verdict"]), (&"live".into(), &"yes".into()));
    assert_eq!((&status["pid"], &status["socket"]), (&first["pid"], &first["socket"]));
    let identity_file = status["identity_file"].as_str().unwrap();
    let reply = run(&["call", identity_file, "--protocol", "0xF0CA", "PING"]);
    assert_eq!(reply.text(), "+PONG\r\n", "{reply:?}");
}

#[test]
fn clients_that_start_at_once_get_one_daemon() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let clients = services.start_at_once(20, &file);
    let pids: BTreeSet<u32> = clients.iter().map(|client| pid(&client.objects()[0])).collect();
    assert_eq!(pids.len(), 1, "{clients:?}");
    assert!(clients.iter().all(|client| client.status == 0), "{clients:?}");
    let starters = clients.iter().filter(|client| client.objects()[0]["started"] == true);
    assert_eq!(starters.count(), 1, "{clients:?}");
    await_ready(&clients[0].objects()[0]);
    let served = fs::read_to_string(services.root().join("cache/log")).unwrap();
    assert_eq!(served.matches("ready: ").count(), 1, "{served}");
}

#[test]
fn each_key_has_a_daemon() {
    let services = Services::new();
    let [plain, first, second] = ["", "key = '/one'", "key = '/two'"].map(|key| {
        let file = services.cache("cache", key);
        let kept = services.path(&format!("{}.toml", key.len() + usize::from(key.contains("two"))));
        let content = fs::read_to_string(&file).unwrap().replace(&*file, text(&kept));
        fs::write(&kept, content).unwrap();
        text(&kept).to_owned()
    });
    fs::remove_file(services.path("cache.toml")).unwrap();
    let pids: BTreeSet<u32> = [&plain, &first, &second].map(|file| services.start(file)).into();
    assert_eq!(pids.len(), 3);
    assert_eq!(services.json(0, &["status", "--file", &first])["key"], "/one");
    assert_eq!(services.json(0, &["status", "--file", &plain])["key"], serde_json::Value::Null);
    let stopped = services.json(0, &["stop", "--file", &second]);
    assert_eq!(stopped["outcome"], "ended");
    assert_eq!(services.json(0, &["status", "--file", &first])["state"], "live");
}

#[test]
fn a_stop_says_whom_it_has_stopped() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let not_running = services.run(&["stop", "--file", &file]);
    assert_eq!((not_running.status, not_running.text()), (0, "not running: cache had no daemon\n"));
    let pid = services.start(&file);
    let stopped = services.run(&["stop", "--file", &file]);
    let expected = format!("stopped: process {pid} served cache and has ended, after ");
    assert!(stopped.status == 0 && stopped.text().starts_with(&expected), "{stopped:?}");
    let again = services.json(0, &["stop", "--file", &file]);
    assert_eq!((&again["outcome"], &again["pid"]), (&"not_running".into(), &serde_json::Value::Null));
    let status = services.run(&["status", "--file", &file]);
    assert!(status.status == 1 && status.text().starts_with("cache: absent\n"), "{status:?}");
    assert_ne!(services.start(&file), pid);
}

#[test]
fn a_daemon_that_hangs_is_busy_and_then_killed() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let pid = services.start(&file);
    signal("STOP", pid);
    let status = services.run(&["status", "--file", &file, "--deadline", "100ms"]);
    let hint = format!("hint: to let it go on: kill -CONT {pid}");
    status.fails_with(2, &[&format!("process {pid} is stopped by a signal"), &hint]);
    assert!(status.text().starts_with("cache: busy\n"), "{status:?}");
    let start = services.json(2, &["start", "--file", &file, "--deadline", "100ms"]);
    assert_eq!(start["kind"], "timed_out");
    let stopped = services.json(0, &["stop", "--file", &file, "--deadline", "500ms"]);
    assert_eq!((&stopped["outcome"], &stopped["pid"]), (&"killed".into(), &pid.into()));
    assert_eq!(services.json(1, &["status", "--file", &file])["state"], "absent");
    assert_ne!(services.start(&file), pid);
}

#[test]
fn a_daemon_that_fails_is_told_with_its_log_and_then_paused() {
    let services = Services::new();
    let script = r"echo starting; printf 'no \033[31mdatabase\n' >&2; exit 3";
    let file = services.file("failing", &format!("command = ['sh', '-c', '''{script}''']"));
    let first = services.run(&["start", "--file", &file]);
    let log = services.root().join("failing/log");
    first.fails_with(
        1,
        &[
            "error: failing did not start\n",
            "because: the daemon exited with status 3 before it served\n",
            "the end of its log:\n    | starting\n    | no \\u{1b}[31mdatabase\n",
            &format!("the whole log is {}\n", text(&log)),
        ],
    );
    let second = services.json(1, &["start", "--file", &file]);
    assert_eq!(second["kind"], "start_failed");
    assert_eq!(
        (&second["start_failure"]["end"], &second["start_failure"]["exit_status"]),
        (&"exited".into(), &3.into())
    );
    assert_eq!(second["start_failure"]["log"], "starting\nno \u{1b}[31mdatabase");
    let third = services.json(1, &["start", "--file", &file]);
    assert_eq!(third["kind"], "start_failed");

    let paused = services.json(1, &["start", "--file", &file]);
    assert_eq!(
        (&paused["kind"], &paused["start_failure"]["exit_status"]),
        (&"backing_off".into(), &3.into())
    );
    let status = services.json(1, &["status", "--file", &file]);
    assert_eq!(
        (&status["state"], &status["until_unix_ms"]),
        (&"backing_off".into(), &paused["until_unix_ms"])
    );
    assert!(status["until_unix_ms"].is_u64(), "{status}");
    assert_eq!(status["start_failure"], paused["start_failure"]);
    assert!(status["failed_unix_ms"].as_u64() < status["until_unix_ms"].as_u64(), "{status}");
    services
        .run(&["start", "--file", &file])
        .fails_with(1, &["failing has failed several times", "not started before 2", " (in 1s)\n", "| no"]);
    let shown = services.run(&["status", "--file", &file]);
    assert!(shown.text().starts_with("failing: backing off\n  paused until   2"), "{shown:?}");
    let failed = shown.text().lines().find(|line| line.starts_with("  last failure   ")).unwrap();
    assert!(failed.ends_with(" ago: the daemon exited with status 3 before it served"), "{failed}");
    assert!(shown.text().contains("\n    | no \\u{1b}[31mdatabase\n"), "{shown:?}");
}

#[test]
fn each_way_to_fail_has_its_name() {
    let services = Services::new();
    for (name, command, end, hint) in [
        ("killed", "['sh', '-c', 'kill -KILL $$']", "signaled", "want of memory"),
        ("absent", "['/missing/program']", "not_run", "`command` or `directory`"),
        ("nowhere", "['true']\ndirectory = '/missing'", "not_run", "`command` or `directory`"),
        ("zero", "['true']", "exited", "stays in the foreground"),
    ] {
        let file = services.file(name, &format!("command = {command}"));
        let error = services.json(1, &["start", "--file", &file]);
        assert_eq!(
            (&error["kind"], &error["start_failure"]["end"]),
            (&"start_failed".into(), &end.into()),
            "{error}"
        );
        assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
    }
    let file = services.file("unknown", "command = ['no-such-program-anywhere']");
    services.run(&["start", "--file", &file]).fails_with(
        1,
        &["error: unknown has no daemon", "\"no-such-program-anywhere\"", "PATH", "hint: name the program"],
    );
    assert_eq!(services.json(1, &["start", "--file", &file])["kind"], "no_program");
}

#[test]
fn the_daemon_gets_directory_and_environment_of_the_file() {
    let services = Services::new();
    let directory = fs::canonicalize(services.path(".")).unwrap();
    let file = services.file(
        "shown",
        &format!(
            "command = ['sh', '-c', 'pwd; echo $GREETING $RUNNING_PROCESS_SERVICE $OF_CALLER; exit 1']
            directory = '{}'
            environment = {{ GREETING = 'good  day' }}",
            directory.display()
        ),
    );
    let failed = finish(services.command(&["start", "--json", "--file", &file]).env("OF_CALLER", "x"));
    let error: serde_json::Value = serde_json::from_str(&failed.stderr).unwrap();
    let expected = format!("{}\ngood day shown", directory.display());
    assert_eq!(error["start_failure"]["log"], expected);
}

#[test]
fn a_daemon_that_only_starts_is_waited_for() {
    let services = Services::new();
    let file = services.file("slow", "command = ['sleep', '60']");
    let start = services.json(2, &["start", "--file", &file, "--deadline", "100ms"]);
    assert_eq!(start["kind"], "timed_out");
    let status = services.json(1, &["status", "--file", &file]);
    assert_eq!(status["state"], "starting");
    assert!(status["since_unix_ms"].is_u64(), "{status}");
    let waits = services.run(&["start", "--file", &file, "--deadline", "100ms"]);
    waits.fails_with(2, &["it is starting", "hint: wait longer", "running-process status --file"]);
    signal("KILL", pid(&status));
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_that_keeps_the_lock_of_a_daemon_is_named() {
    let services = Services::new();
    let (file, child) = (services.path("cache.toml"), services.path("child"));
    let (executable, serve) = (env!("CARGO_BIN_EXE_running-process"), "serve --service");
    let script =
        format!("sleep 60 & echo $! >{}; exec {executable} {serve} {}", child.display(), file.display());
    let file = services.file("cache", &format!("command = ['sh', '-c', '{script}']"));
    let daemon = services.start(&file);
    let child: u32 = fs::read_to_string(child).unwrap().trim().parse().unwrap();
    // A daemon that ends by itself frees its lock.
    signal("KILL", daemon);
    ends(daemon);
    let status = services.json(1, &["status", "--file", &file]);
    assert_eq!(status["state"], "held_by_orphan", "{status}");
    assert_eq!((&status["error"]["kind"], &status["pid"]), (&"held_by_orphan".into(), &child.into()));
    let words = format!("process {child}");
    let start = services.run(&["start", "--file", &file]);
    start.fails_with(1, &["cache has no daemon", &words, "hint: the daemon has ended"]);
    services.run(&["stop", "--file", &file]).fails_with(1, &["cache was not stopped", &words]);
    signal("KILL", child);
    let next = services.start(&file);
    assert_ne!(next, daemon);
    let child: u32 = fs::read_to_string(services.path("child")).unwrap().trim().parse().unwrap();
    signal("KILL", child);
}

#[test]
fn a_process_in_the_place_of_the_daemon_is_refused() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let started = services.json(0, &["start", "--file", &file]);
    let socket = started["socket"].as_str().unwrap();
    let aside = format!("{socket}.aside");
    // A daemon that runs notices that its socket is away, and publishes it again.
    signal("STOP", pid(&started));
    fs::rename(socket, &aside).unwrap();
    let impostor = UnixListener::bind(socket).unwrap();
    let status = services.json(1, &["status", "--file", &file]);
    assert_eq!((&status["state"], &status["verdict"]), (&"impostor".into(), &"no".into()));
    for command in ["start", "stop"] {
        let error = services.json(1, &[command, "--file", &file]);
        assert_eq!(error["kind"], "impostor", "{error}");
        let own = format!("process {}", std::process::id());
        services.run(&[command, "--file", &file]).fails_with(1, &[&own, "hint: another process"]);
    }
    drop(impostor);
    fs::rename(aside, socket).unwrap();
    signal("CONT", pid(&started));
    assert_eq!(services.json(0, &["stop", "--file", &file])["pid"], started["pid"]);
}

#[test]
fn a_daemon_started_by_hand_is_the_only_one() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let mut serve = services.command(&["serve", "--service", &file]);
    let mut first = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(first.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with(&format!("ready: pid {} serves ", first.id())), "{ready}");
    let again = services.run(&["serve", "--service", &file]);
    let named = format!("process {} is the daemon of the service", first.id());
    again.fails_with(2, &["this process is not the daemon of cache", &named, "running-process stop --file"]);
    assert_eq!(services.json(2, &["serve", "--service", &file])["kind"], "in_use");
    let found = services.json(0, &["start", "--file", &file]);
    assert_eq!((&found["started"], &found["pid"]), (&false.into(), &first.id().into()));
    let stopped = services.json(0, &["stop", "--file", &file]);
    assert_eq!((&stopped["outcome"], &stopped["pid"]), (&"ended".into(), &first.id().into()));
    let first = collect(first);
    assert_eq!((first.status, &*first.stderr), (0, ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_start_tells_what_else_ends_the_daemon() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let own = services.command(&["start", "--json", "--file", &file]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--fork", "--pid", "--mount-proc"]).arg(own.get_program()).args(own.get_args());
    let start = finish(unshare.env("RUNNING_PROCESS_DIR", services.root()));
    if start.stderr.contains("unshare:") {
        println!("skipped: a pid namespace needs root ({})", start.stderr.trim());
        return;
    }
    // The namespace, and the daemon in it, end with the command.
    let started = &start.objects()[0];
    let ends_with = started["ends_with"].as_array().unwrap();
    assert!(ends_with.iter().any(|end| end["kind"] == "pid_namespace" && end["path"].is_null()), "{started}");
}

#[test]
fn a_daemon_of_another_service_or_key_is_told_to_its_starter() {
    let services = Services::new();
    let cache = services.cache("cache", "");
    let command = fs::read_to_string(&cache).unwrap().lines().nth(1).unwrap().to_owned();
    let other = services.file("other", &command);
    let error = services.json(1, &["start", "--file", &other]);
    let log = error["start_failure"]["log"].as_str().unwrap();
    assert!(log.contains("started as the daemon of the service other, not of cache\n"), "{log}");
    let keyed = services.path("keyed.toml");
    fs::write(&keyed, format!("name = 'cache'\nkey = 'k'\n{command}\n")).unwrap();
    let error = services.json(1, &["start", "--file", text(&keyed)]);
    let log = error["start_failure"]["log"].as_str().unwrap();
    assert!(log.contains("the service cache with the key \"k\", not of cache\n"), "{log}");
    assert_eq!(services.json(1, &["status", "--file", &cache])["state"], "absent");
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_daemon_ends_by_itself() {
    let services = Services::new();
    let file = services.cache("cache", "idle_timeout = '1s'");
    let pid = services.start(&file);
    ends(pid);
    let status = services.json(1, &["status", "--file", &file]);
    assert!(["absent", "stale"].contains(&status["state"].as_str().unwrap()), "{status}");
    assert_ne!(services.start(&file), pid);
}

#[test]
fn the_log_has_the_limit_of_the_file() {
    let services = Services::new();
    let script = "head -c 3000 /dev/zero; exit 1";
    let file = services.file("loud", &format!("command = ['sh', '-c', \"{script}\"]\nlog_limit = '4KiB'"));
    for _ in 0..2 {
        services.json(1, &["start", "--file", &file]);
    }
    let size = |name: &str| fs::metadata(services.root().join("loud").join(name)).unwrap().len();
    assert_eq!((size("log"), size("log.1")), (3000, 3000));
}

#[test]
fn a_root_that_cannot_be_used_is_told() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let below =
        |root: &str, arguments: &[&str]| finish(services.command(arguments).env("RUNNING_PROCESS_DIR", root));
    let hint = "hint: set RUNNING_PROCESS_DIR to a directory that belongs to you";
    for command in
        [&["start", "--file"][..], &["status", "--file"], &["stop", "--file"], &["serve", "--service"]]
    {
        let arguments = [command, &[&file]].concat();
        below("relative", &arguments).fails_with(2, &["\"relative\" is not an absolute path", hint]);
    }
    let open = services.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
    let start = below(text(&open), &["start", "--file", &file]);
    start.fails_with(2, &["has mode 755", &format!("chmod 700 {}", open.display())]);
    let plain = services.path("plain");
    fs::write(&plain, "precious").unwrap();
    below(text(&plain), &["start", "--file", &file])
        .fails_with(2, &["is not a directory", "nothing was changed"]);
    assert_eq!(fs::read(&plain).unwrap(), b"precious");
}

#[test]
fn a_root_that_cannot_be_written_is_told() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let closed = services.path("closed");
    fs::create_dir(&closed).unwrap();
    let own = services.command(&["start", "--file", &file]);
    // Root writes everywhere, so another user runs the command.
    let mut start = if rustix::process::geteuid().is_root() {
        let mode = PermissionsExt::from_mode(0o755);
        fs::set_permissions(services.path("."), mode).unwrap();
        let mut start = Command::new("setpriv");
        start.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        start.arg(own.get_program()).args(own.get_args());
        start
    } else {
        fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
        own
    };
    let finished = finish(start.env("RUNNING_PROCESS_DIR", closed.join("root")));
    if finished.stderr.contains("setpriv:") {
        println!("skipped: another user cannot run the command ({})", finished.stderr.trim());
        return;
    }
    finished.fails_with(
        2,
        &["cache has no daemon", "cannot be used", "Permission denied", "hint: set RUNNING_PROCESS_DIR"],
    );
}
