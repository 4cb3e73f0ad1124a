//! `restart` with real daemons.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::service::{Services, pid, signal};
use crate::common::{Finished, collect, text};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

fn restart(services: &Services, file: &str) -> Finished {
    services.run(&["restart", "--file", file])
}

/// Restarts the service, and returns the names of the steps and the object about the new daemon.
#[track_caller]
fn restarted(services: &Services, file: &str) -> (Vec<String>, Value) {
    let finished = services.run(&["restart", "--json", "--file", file]);
    assert_eq!((finished.status, &*finished.stderr), (0, ""), "{finished:?}");
    of(&finished)
}

fn of(finished: &Finished) -> (Vec<String>, Value) {
    let mut objects = finished.objects();
    let last = objects.pop().unwrap();
    (objects.iter().map(|step| step["step"].as_str().unwrap().to_owned()).collect(), last)
}

#[track_caller]
fn live(services: &Services, file: &str) -> u32 {
    let status = services.json(0, &["status", "--file", file]);
    assert_eq!(status["state"], "live");
    pid(&status)
}

#[test]
fn a_restart_tells_each_step_and_who_serves_then() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let first = services.start(&file);
    let finished = restart(&services, &file);
    assert_eq!((finished.status, &*finished.stderr), (0, ""), "{finished:?}");
    let second = live(&services, &file);
    assert_ne!(second, first);
    let socket = services.root().join("cache/socket");
    let expected = format!(
        "  process {first} serves, and hands its endpoint over to the next daemon\n  process {second} is started\n  \
         process {second} serves\n  process {first} finishes what it has accepted, and ends then\n\
         replaced: process {second} serves cache at {}, after ",
        text(&socket)
    );
    assert!(finished.text().starts_with(&expected), "{}", finished.text());

    let (steps, replaced) = restarted(&services, &file);
    assert_eq!(steps, ["hands_over", "runs", "serves", "drains"]);
    assert_eq!((&replaced["former_pid"], &replaced["started"]), (&second.into(), &true.into()));
    assert_eq!(replaced["by"], "handover");
    assert_eq!((&replaced["service"], &replaced["socket"]), (&"cache".into(), &text(&socket).into()));
    assert_eq!(pid(&replaced), live(&services, &file));
}

#[test]
fn the_versions_of_both_daemons_are_told() {
    let services = Services::new();
    let file = services.cache("cache", "version = '1.2.0'");
    let first = services.start(&file);
    services.cache("cache", "version = '2.0.0-rc.1'");
    let finished = restart(&services, &file);
    let second = live(&services, &file);
    for line in [
        format!("  process {first} of version 1.2.0 serves, and hands its endpoint over"),
        format!("  process {second} of version 2.0.0-rc.1 serves\n"),
    ] {
        assert!(finished.text().contains(&line), "{finished:?}");
    }
    let objects = services.json_lines(0, &["restart", "--file", &file]);
    assert_eq!(objects[0]["version"], "2.0.0-rc.1");
    assert_eq!(objects.last().unwrap()["version"], "2.0.0-rc.1");
}

#[test]
fn a_restart_of_a_service_without_a_daemon_starts_it() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let finished = restart(&services, &file);
    let pid = live(&services, &file);
    let expected = format!(
        "  process {pid} is started\n  process {pid} serves\nstarted: process {pid} serves cache at "
    );
    assert!(finished.status == 0 && finished.text().starts_with(&expected), "{finished:?}");
    services.json(0, &["stop", "--file", &file]);
    let (steps, started) = restarted(&services, &file);
    assert_eq!(
        (steps, &started["former_pid"]),
        (["runs", "serves"].map(str::to_owned).to_vec(), &Value::Null)
    );
    #[cfg(target_os = "linux")]
    {
        // A daemon that was killed has left everything behind.
        let daemon = live(&services, &file);
        signal("KILL", daemon);
        crate::common::service::ends(daemon);
        let (steps, started) = restarted(&services, &file);
        assert_eq!(
            (steps, &started["former_pid"]),
            (["runs", "serves"].map(str::to_owned).to_vec(), &Value::Null)
        );
    }
}

#[test]
fn a_daemon_whose_successor_cannot_be_run_is_not_stopped() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let daemon = services.start(&file);
    for (command, kind, words) in [
        ("/missing/program", "start_failed", "/missing/program is no executable file"),
        ("no-such-program-anywhere", "no_program", "in no directory of PATH"),
    ] {
        services.file("cache", &format!("command = ['{command}']"));
        restart(&services, &file).fails_with(1, &["error: cache", words, "hint: "]);
        assert_eq!(services.json(1, &["restart", "--file", &file])["kind"], kind);
    }
    services.cache("cache", "");
    assert_eq!(live(&services, &file), daemon);
}

#[test]
fn a_successor_that_fails_leaves_the_daemon_as_it_was() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let daemon = services.start(&file);
    for (script, end) in [
        ("echo no database; exit 3", "the daemon exited with status 3 before it served\n"),
        ("echo no database; kill -9 $$", "signal 9 ended the daemon before it served\n"),
    ] {
        services.file("cache", &format!("command = ['sh', '-c', '{script}']"));
        restart(&services, &file).fails_with(
            1,
            &[
                &format!("error: process {daemon} serves cache as before, and its successor did not start\n"),
                &format!("because: {end}"),
                "the end of its log:\n    | no database\n",
                "hint: ",
            ],
        );
    }
    let error = services.json_lines(1, &["restart", "--file", &file]).pop().unwrap();
    assert_eq!((&error["kind"], &error["start_failure"]["signal"]), (&"start_failed".into(), &9.into()));
    assert_eq!(live(&services, &file), daemon);
    services.cache("cache", "");
    assert_eq!(restarted(&services, &file).1["former_pid"], daemon);
}

#[test]
fn a_successor_that_fails_after_a_stop_is_told_with_its_log_and_the_next_start_heals() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let daemon = services.start(&file);
    let script = r"printf 'no database\n'; exit 3";
    services.file("cache", &format!("command = ['sh', '-c', '''{script}''']"));
    let failed = services.run(&["restart", "--stop-first", "--file", &file]);
    failed.fails_with(
        1,
        &[
            &format!(
                "error: no daemon runs: process {daemon} has ended, and the next daemon did not start\n"
            ),
            "because: cache did not start\n",
            "because: the daemon exited with status 3 before it served\n",
            "the end of its log:\n    | no database\n",
            "hint: correct the cause, then start again; the whole log is ",
        ],
    );
    assert!(failed.text().contains(&format!("  process {daemon} has ended\n")), "{failed:?}");
    // The service file is right again.
    services.cache("cache", "");
    assert_ne!(services.start(&file), daemon);
}

#[test]
fn a_daemon_that_is_to_be_stopped_first_is() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let first = services.start(&file);
    let finished = services.run(&["restart", "--stop-first", "--file", &file]);
    let second = live(&services, &file);
    let expected = format!(
        "  process {first} serves, and is asked to end first: the next daemon is to start after it has ended\n  \
         process {first} has ended\n  process {second} is started\n  process {second} serves\n\
         replaced: process {second} serves cache at "
    );
    assert!(finished.status == 0 && finished.text().starts_with(&expected), "{finished:?}");
    let replaced = services.json_lines(0, &["restart", "--stop-first", "--file", &file]).pop().unwrap();
    assert_eq!(replaced["by"], "stop_then_start");
}

/// A daemon without a socket for handovers, as one of an older library.
#[test]
fn a_daemon_that_cannot_hand_over_is_stopped_first() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let control = services.root().join("cache/control");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&control).unwrap();
    let first = services.start(&file);
    let (steps, replaced) = restarted(&services, &file);
    assert_eq!(steps, ["stops", "ended", "runs", "serves"]);
    assert_eq!((&replaced["former_pid"], &replaced["by"]), (&first.into(), &"stop_then_start".into()));
    let finished = restart(&services, &file);
    assert!(
        finished.text().contains(" is asked to end first: it cannot hand its endpoint over\n"),
        "{finished:?}"
    );
}

#[test]
fn restarts_at_once_replace_one_after_the_other() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let first = services.start(&file);
    let spawn = |_| {
        let mut command = services.command(&["restart", "--json", "--file", &file]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let restarts: Vec<_> = (0..4).map(spawn).collect();
    let restarts: Vec<_> = restarts.into_iter().map(|child| of(&collect(child)).1).collect();
    // Each has replaced the daemon of another one, so they form a chain from the first daemon to the last one.
    let (mut daemon, mut length) = (first, 0);
    while let Some(next) = restarts.iter().find(|restart| restart["former_pid"] == daemon) {
        (daemon, length) = (pid(next), length + 1);
    }
    assert_eq!((daemon, length), (live(&services, &file), 4), "{restarts:?}");
}

#[test]
fn clients_that_start_during_a_restart_never_fail() {
    for (option, step) in [(&[][..], "hands_over"), (&["--stop-first"], "stops")] {
        let services = Services::new();
        let file = services.cache("cache", "");
        let first = services.start(&file);
        let mut restart = services.command(&["restart", "--json", "--file", &file]);
        let restart = restart.args(option).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let clients = services.start_at_once(20, &file);
        let (steps, replaced) = of(&collect(restart));
        assert_eq!((&*steps[0], &replaced["former_pid"]), (step, &first.into()), "{steps:?}");
        for client in &clients {
            let started = &client.objects()[0];
            assert!(client.status == 0 && started["started"] == false, "{client:?}");
            assert!([first, pid(&replaced)].contains(&pid(started)), "{client:?}");
        }
        assert_eq!(live(&services, &file), pid(&replaced));
    }
}

#[test]
fn a_daemon_that_hangs_is_not_killed_before_its_time() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let daemon = services.start(&file);
    signal("STOP", daemon);
    let late = services.run(&["restart", "--file", &file, "--deadline", "3s"]);
    late.fails_with(
        2,
        &["cache was not restarted", "the daemon was not stopped as it should", "hint: wait longer"],
    );
    let asked = format!("  process {daemon} serves, and is asked to end first: it does not answer in time\n");
    assert_eq!(late.text(), asked);
    signal("CONT", daemon);
    // It was asked to end.
    let (_, replaced) = restarted(&services, &file);
    assert_ne!(pid(&replaced), daemon);
}

#[test]
fn a_process_in_the_place_of_the_daemon_stops_a_restart() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let started = services.json(0, &["start", "--file", &file]);
    let socket = started["socket"].as_str().unwrap();
    let aside = format!("{socket}.aside");
    // A daemon that runs notices that its socket is away, and publishes it again.
    signal("STOP", pid(&started));
    fs::rename(socket, &aside).unwrap();
    let impostor = UnixListener::bind(socket).unwrap();
    let own = format!("process {}", std::process::id());
    restart(&services, &file).fails_with(1, &["cache was not restarted", &own, "hint: another process"]);
    assert_eq!(services.json(1, &["restart", "--file", &file])["kind"], "impostor");
    drop(impostor);
    fs::rename(aside, socket).unwrap();
    signal("CONT", pid(&started));
    assert_eq!(live(&services, &file), pid(&started));
}

#[test]
fn a_restart_has_a_time_limit() {
    let services = Services::new();
    let file = services.file("slow", "command = ['sleep', '60']");
    let late = services.json_lines(2, &["restart", "--file", &file, "--deadline", "100ms"]);
    assert_eq!((&late[0]["step"], &late[1]["kind"]), (&"runs".into(), &"timed_out".into()), "{late:?}");
    // It goes on, as after a start whose time limit has passed.
    let status = services.json(1, &["status", "--file", &file]);
    assert_eq!((&status["state"], &status["pid"]), (&"starting".into(), &late[0]["pid"]));
    signal("KILL", pid(&status));
}

#[test]
fn a_daemon_serves_on_if_its_successor_is_not_ready_in_time() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let daemon = services.start(&file);
    services.file("cache", "command = ['sleep', '60']");
    let late = services.run(&["restart", "--file", &file, "--deadline", "300ms"]);
    let words = format!("process {daemon} serves cache until its successor is ready");
    late.fails_with(2, &[&words, "it is starting", "hint: wait longer"]);
    assert_eq!(live(&services, &file), daemon);
    // The successor that hangs is ended as well.
    services.json(0, &["stop", "--file", &file]);
}

/// Starts a restart whose successor hangs, kills it, and returns the successor.
#[cfg(target_os = "linux")]
fn abandoned_successor(services: &Services, file: &str) -> u32 {
    use std::io::{BufRead, BufReader};
    let mut restart = services.command(&["restart", "--json", "--file", file]);
    let mut restart = restart.stdout(Stdio::piped()).spawn().unwrap();
    let steps = BufReader::new(restart.stdout.take().unwrap()).lines();
    let mut steps = steps.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let runs = steps.find(|step| step["step"] == "runs").unwrap();
    restart.kill().unwrap();
    restart.wait().unwrap();
    pid(&runs)
}

#[test]
#[cfg(target_os = "linux")]
fn a_successor_that_hangs_after_its_restart_was_killed_is_told_and_stopped() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let daemon = services.start(&file);
    services.file("cache", "command = ['sleep', '60']");
    let successor = abandoned_successor(&services, &file);
    assert_eq!(services.start(&file), daemon);
    let late = services.run(&["restart", "--file", &file, "--deadline", "300ms"]);
    let words = format!("process {successor} replaces the daemon, and was not done in time");
    late.fails_with(2, &["cache was not restarted", &words, "hint: wait longer"]);
    assert_eq!(late.text(), format!("  process {successor} replaces the daemon: waiting for it\n"));

    let stopped = services.json(0, &["stop", "--file", &file]);
    assert_eq!((&stopped["outcome"], &stopped["pid"]), (&"ended".into(), &daemon.into()));
    crate::common::service::ends(successor);
    assert_eq!(services.json(1, &["status", "--file", &file])["state"], "absent");
    services.cache("cache", "");
    services.start(&file);
}

#[test]
#[cfg(target_os = "linux")]
fn a_successor_that_hangs_without_a_daemon_is_a_start_that_can_be_stopped() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let daemon = services.start(&file);
    services.file("cache", "command = ['sleep', '60']");
    let successor = abandoned_successor(&services, &file);
    signal("TERM", daemon);
    crate::common::service::ends(daemon);
    let status = services.json(1, &["status", "--file", &file]);
    assert_eq!((&status["state"], &status["pid"]), (&"starting".into(), &successor.into()));
    let late = services.json(2, &["start", "--file", &file, "--deadline", "100ms"]);
    assert_eq!(late["kind"], "timed_out");
    let stopped = services.json(0, &["stop", "--file", &file]);
    assert_eq!((&stopped["outcome"], &stopped["pid"]), (&"ended".into(), &successor.into()));
    services.cache("cache", "");
    services.start(&file);
}
