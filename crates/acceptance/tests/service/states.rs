//! Each state of a service, as `find` tells it, and what `ensure` and `stop` do in it.

use crate::harness::{Bench, PROBE, Running, assert_state, await_that, result, served_by};
use rustix::process::Signal;
use serde_json::json;
use std::fs;

#[test]
fn a_daemon_that_was_killed_is_stale_and_the_next_start_replaces_what_it_left() {
    let bench = Bench::new();
    assert_state(&bench.find(), "absent", None);
    assert!(!bench.place().exists(), "a look makes no files");
    assert_eq!(bench.stop(&[])["stopped"], "NotRunning");
    let first = bench.served(&[], "serve");
    assert_state(&bench.find(), "live", Some(first));
    bench.signal(first, Signal::KILL);
    assert_state(&bench.find(), "stale", Some(first));
    assert_eq!(bench.stop(&[])["stopped"], "NotRunning");
    let second = bench.served(&[], "serve");
    assert_ne!(first, second);
    bench.assert_stopped(second);
    assert_state(&bench.find(), "absent", None);
    assert!(!bench.place().join("socket").exists() && !bench.place().join("identity.json").exists());
}

#[test]
fn a_daemon_on_tokio_is_found_and_stopped_by_the_calls_for_tokio() {
    let bench = Bench::new();
    let daemon = bench.served(&["tokio=1"], "tokio");
    assert_eq!(bench.served(&[], "tokio"), daemon);
    assert_state(&result(&mut bench.bare_client("find", &["tokio=1"])), "live", Some(daemon));
    let stopped = bench.stop(&["tokio=1"]);
    assert_eq!((&stopped["stopped"], &stopped["pid"]), (&json!("Ended"), &json!(daemon)));
    assert!(bench.daemons().is_empty());
}

#[test]
fn a_busy_daemon_is_waited_for_and_neither_replaced_nor_killed_but_by_a_stop() {
    let bench = Bench::new();
    let daemon = bench.served(&[], "serve");
    bench.signal(daemon, Signal::STOP);
    let refused = bench.ensure(&["timeout=600"], "serve");
    assert_eq!((&refused["error"], &refused["state"]), (&json!("TimedOut"), &json!("busy")), "{refused:#}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("process {daemon}")), "{refused:#}");
    assert!((600..5000).contains(&refused["ms"].as_u64().unwrap()), "{refused:#}");
    let found = result(&mut bench.bare_client("find", &["timeout=300"]));
    assert_state(&found, "busy", Some(daemon));
    assert_eq!((bench.daemons(), bench.events("start")), (vec![daemon], 1));
    // It goes on, and a client that has waited meanwhile gets it.
    let waits = Running::start(&mut bench.client("ensure", &[], "serve"));
    bench.signal(daemon, Signal::CONT);
    assert_eq!(served_by(&waits.result()), daemon);
    bench.signal(daemon, Signal::STOP);
    let stopped = bench.stop(&["timeout=300"]);
    assert_eq!((&stopped["stopped"], &stopped["pid"]), (&json!("Killed"), &json!(daemon)), "{stopped:#}");
    assert!(bench.daemons().is_empty());
    bench.served(&[], "serve");
}

#[test]
fn a_daemon_that_drains_is_waited_for_and_the_next_one_serves_after_it() {
    let bench = Bench::new();
    let old = bench.served(&[], "serve");
    let (began, go) = (bench.path("began"), bench.path("go"));
    let request = format!("request=hold {} {}", began.display(), go.display());
    let held = Running::start(&mut bench.client("ensure", &[&request], "serve"));
    await_that("request", || began.exists());
    let stop = Running::start(&mut bench.bare_client("stop", &[]));
    await_that("drain", || bench.find()["state"] == "draining");
    assert_state(&bench.find(), "draining", Some(old));
    let refused = bench.ensure(&["timeout=300"], "serve");
    assert_eq!(
        (&refused["error"], &refused["state"]),
        (&json!("TimedOut"), &json!("draining")),
        "{refused:#}"
    );
    let next = Running::start(&mut bench.client("ensure", &[], "serve"));
    assert_eq!(bench.events("start"), 1);
    fs::write(go, "").unwrap();
    assert_eq!(served_by(&held.result()), old, "what was accepted is answered");
    let stopped = stop.result();
    assert_eq!((&stopped["stopped"], &stopped["pid"]), (&json!("Ended"), &json!(old)), "{stopped:#}");
    assert_ne!(served_by(&next.result()), old);
    bench.assert_never_two();
}

#[test]
fn a_child_that_keeps_the_lock_of_a_dead_daemon_is_told_by_its_process_id() {
    let bench = Bench::new();
    let daemon = bench.served(&[], "orphan,serve");
    let child = bench.child();
    bench.signal(daemon, Signal::KILL);
    assert_state(&bench.find(), "held by an orphan", Some(child));
    let refused = bench.ensure(&[], "orphan,serve");
    assert_eq!((&refused["error"], &refused["pid"]), (&json!("HeldByOrphan"), &json!(child)), "{refused:#}");
    assert!(refused["ms"].as_u64().unwrap() < 10_000, "{refused:#}");
    let refused = bench.stop(&[]);
    assert_eq!((&refused["error"], &refused["pid"]), (&json!("HeldByOrphan"), &json!(child)), "{refused:#}");
    assert_eq!(bench.processes(), [child], "nothing was started or killed");
    bench.signal(child, Signal::KILL);
    bench.served(&[], "orphan,serve");
}

#[test]
fn a_stop_that_kills_a_daemon_tells_the_child_that_keeps_its_lock() {
    let bench = Bench::new();
    let daemon = bench.served(&[], "orphan");
    let child = bench.child();
    bench.signal(daemon, Signal::STOP);
    let refused = bench.stop(&["timeout=300"]);
    assert_eq!((&refused["error"], &refused["pid"]), (&json!("HeldByOrphan"), &json!(child)), "{refused:#}");
    assert!(bench.daemons().is_empty());
}

#[test]
fn a_process_that_took_the_socket_of_a_live_daemon_is_refused_and_the_daemon_left_alone() {
    let bench = Bench::new();
    let daemon = bench.served(&[], "serve");
    // It would notice the loss of its socket's name.
    bench.signal(daemon, Signal::STOP);
    let impostor = bench.impostor();
    let found = bench.find();
    assert_eq!((&found["state"], &found["reason"]), (&json!("impostor"), &json!("Impostor")), "{found:#}");
    let refused = bench.ensure(&[], "serve");
    assert_eq!((&refused["error"], &refused["reason"]), (&json!("Impostor"), &json!("Impostor")));
    let text = refused["text"].as_str().unwrap();
    assert!(text.contains(&format!("process {}", impostor.child.id())), "{text}");
    let refused = bench.stop(&[]);
    assert_eq!((&refused["error"], &refused["reason"]), (&json!("NotProven"), &json!("Impostor")));
    assert_eq!((bench.daemons(), bench.events("start")), (vec![daemon], 1));
}

#[test]
fn a_process_that_took_the_socket_of_a_dead_daemon_is_refused_until_it_ends() {
    let bench = Bench::new();
    let daemon = bench.served(&[], "serve");
    bench.signal(daemon, Signal::KILL);
    let mut impostor = bench.impostor();
    assert_state(&bench.find(), "stale", Some(daemon));
    let refused = bench.ensure(&[], "serve");
    assert_eq!(refused["error"], "StartFailed", "{refused:#}");
    let log = refused["failure"]["log"].as_str().unwrap();
    assert!(log.contains("InUse"), "{log}");
    assert!(bench.daemons().is_empty());
    impostor.kill();
    bench.served(&[], "serve");
}

#[test]
fn a_service_without_a_command_is_used_and_not_started() {
    let bench = Bench::new();
    assert_eq!(result(&mut bench.bare_client("ensure", &[]))["error"], "NoCommand");
    let daemon = bench.served(&[], "serve");
    assert_eq!(served_by(&result(&mut bench.bare_client("ensure", &[]))), daemon);
    bench.signal(daemon, Signal::KILL);
    assert_eq!(result(&mut bench.bare_client("ensure", &[]))["error"], "NoCommand");
}

#[test]
fn a_client_without_a_command_waits_for_the_start_of_another_one() {
    let bench = Bench::new();
    let go = bench.path("go");
    let starter = Running::start(&mut bench.client("ensure", &[], &format!("wait:{}", go.display())));
    let daemon = bench.await_event("start", 1);
    let found = bench.find();
    assert_state(&found, "starting", Some(starter.child.id()));
    assert!(found["since_ms"].as_u64().is_some(), "{found:#}");
    let waits = Running::start(&mut bench.bare_client("ensure", &[]));
    fs::write(go, "").unwrap();
    assert_eq!(served_by(&waits.result()), daemon);
    assert_eq!(served_by(&starter.result()), daemon);
}

#[test]
fn a_stop_waits_for_a_daemon_that_starts_and_then_ends_it() {
    let bench = Bench::new();
    let go = bench.path("go");
    let starter = Running::start(&mut bench.client("ensure", &[], &format!("wait:{}", go.display())));
    let daemon = bench.await_event("start", 1);
    let refused = bench.stop(&["timeout=200"]);
    assert_eq!(
        (&refused["error"], &refused["state"]),
        (&json!("TimedOut"), &json!("starting")),
        "{refused:#}"
    );
    let stop = Running::start(&mut bench.bare_client("stop", &[]));
    fs::write(go, "").unwrap();
    let stopped = stop.result();
    assert_eq!((&stopped["stopped"], &stopped["pid"]), (&json!("Ended"), &json!(daemon)), "{stopped:#}");
    drop(starter);
    assert!(bench.daemons().is_empty());
}

#[test]
fn each_key_has_a_daemon_of_its_own_also_one_that_is_not_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let keys: [&[u8]; 5] = [b"key=a", b"key=b", b"key=", b"key=\xff/..\n", b"key=/srv/\xc3\xa4"];
    let ensure = |key: &[u8]| {
        let mut command = bench.bare_client("ensure", &[]);
        command.arg(OsStr::from_bytes(key)).arg("--").arg(PROBE).args(bench.daemon_arguments("keyed"));
        served_by(&result(&mut command))
    };
    let mut daemons: Vec<_> = keys.into_iter().map(ensure).collect();
    daemons.push(bench.served(&[], "keyed"));
    let again: Vec<_> = keys.into_iter().map(ensure).collect();
    assert_eq!(again, daemons[..keys.len()]);
    daemons.sort_unstable();
    assert_eq!(bench.daemons(), daemons);
    daemons.dedup();
    assert_eq!(daemons.len(), keys.len() + 1);
}

#[test]
fn a_client_that_is_told_to_use_the_legacy_path_gets_no_handle() {
    let bench = Bench::new();
    let ensure = || result(bench.client("ensure", &[], "serve").env("RUNNING_PROCESS_DISABLE", "1"));
    let daemon = bench.served(&[], "serve");
    let refused = ensure();
    assert_eq!(
        (&refused["error"], &refused["reason"]),
        (&json!("Find"), &json!("Probe Disabled")),
        "{refused:#}"
    );
    assert_eq!(bench.daemons(), [daemon]);
    bench.assert_stopped(daemon);
    let refused = ensure();
    assert_eq!(
        (&refused["error"], &refused["reason"]),
        (&json!("Find"), &json!("Probe Disabled")),
        "{refused:#}"
    );
    assert_eq!((bench.daemons().len(), bench.events("start")), (0, 1));
}
