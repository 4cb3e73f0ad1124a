//! Services by name: their files in the configuration directory, and their directories in the root.
#![cfg(target_os = "linux")]

use crate::common::finish;
use crate::common::service::{Services, pid, signal};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

#[test]
fn a_service_is_started_shown_replaced_and_stopped_by_its_name() {
    let services = Services::new();
    services.configure_cache("cache", "");
    assert_eq!(services.json(1, &["status", "cache"])["state"], "absent");
    let started = services.json(0, &["start", "cache"]);
    assert_eq!(services.json(0, &["status", "cache"])["pid"], started["pid"]);
    let restarted = services.json_lines(0, &["restart", "cache"]);
    assert_eq!(restarted.last().unwrap()["former_pid"], pid(&started));
    assert_eq!(services.json(0, &["stop", "cache"])["outcome"], "ended");
}

#[test]
fn the_label_is_the_stem_of_the_file_and_the_directory_is_a_name_as_well() {
    let services = Services::new();
    let file = services.configure_cache("cache", "key = 'a'");
    let labelled = services.configuration().join("mine.toml");
    std::fs::rename(&file, &labelled).unwrap();
    let text = std::fs::read_to_string(&labelled).unwrap().replace("cache.toml", "mine.toml");
    std::fs::write(&labelled, text).unwrap();
    let started = services.json(0, &["start", "mine"]);
    let again = services.run(&["start", "mine"]);
    assert!(again.text().contains(" serves cache with key \"a\" at "), "{again:?}");
    let directory = services.json(0, &["status", "mine"])["directory"].as_str().unwrap().to_owned();
    let name = directory.rsplit('/').next().unwrap();
    assert_eq!(services.json(0, &["start", name])["pid"], started["pid"]);
    // Without its file the service is found running, and can be stopped, but not started.
    std::fs::remove_file(&labelled).unwrap();
    assert_eq!(services.json(0, &["status", name])["pid"], started["pid"]);
    assert_eq!(services.json(0, &["stop", name])["outcome"], "ended");
    assert_eq!(services.json(1, &["start", name])["kind"], "no_command");
}

#[test]
fn an_unknown_name_tells_the_nearest_one_and_the_directory_that_was_searched() {
    let services = Services::new();
    services.run(&["start", "cache"]).fails_with(2, &["no service is called \"cache\", there is none yet"]);
    services.configure("cache", "");
    let directory = services.configuration().display().to_string();
    let nearest = "the nearest known one is \"cache\"";
    services.run(&["start", "cahce"]).fails_with(2, &[nearest, &directory, "NAME.toml"]);
    services.run(&["start", "redis"]).fails_with(2, &["no service is called \"redis\", known are cache"]);
    for path in ["../cache", "cache.toml", "/etc/passwd"] {
        let hint = format!("--file {path}");
        services.run(&["stop", path]).fails_with(2, &["no service is called", "cache", &hint]);
    }
    services.run(&["start", "cache"]).fails_with(2, &["cache.toml", "`name` is missing"]);
    services.run(&["start"]).fails_with(2, &["<NAME|--file <FILE>>", "tip: known services are cache"]);
    services.run(&["start", "cache", "--file", "cache.toml"]).fails_with(2, &["cannot be used with"]);
}

#[test]
fn what_other_tools_call_a_command_or_an_option_leads_to_its_name_here() {
    let services = Services::new();
    let command = |command: &str| format!("a similar subcommand exists: '{command}'");
    for (other, here) in
        [("list", "ps"), ("ls", "ps"), ("kill", "stop"), ("log", "logs"), ("stats", "status")]
    {
        services.run(&[other]).fails_with(2, &[&command(here)]);
    }
    services.run(&["logs", "cache", "--tail", "3"]).fails_with(2, &["'--lines'"]);
    services.run(&["status", "cache", "--deadline", "5"]).fails_with(2, &["write 5s"]);
    services.run(&["start"]).fails_with(2, &["no service is known yet", "NAME.toml"]);
    for command in ["top", "probe"] {
        let failed = services.run(&[command, "nope"]);
        failed.fails_with(2, &["error: no service is called \"nope\""]);
        assert!(!failed.stderr.contains("identity file"), "{failed:?}");
    }
}

#[test]
fn stop_tells_what_the_daemon_had_open_and_whether_it_was_killed() {
    let services = Services::new();
    services.configure_cache("cache", "");
    let started = services.json(0, &["start", "cache"]);
    let mut connection = UnixStream::connect(started["socket"].as_str().unwrap()).unwrap();
    connection.write_all(b"PING\r\n").unwrap();
    connection.read_exact(&mut [0; 7]).unwrap();
    let stopped = services.run(&["stop", "cache"]);
    let first = format!("stopped: process {} served cache and has ended, after ", pid(&started));
    assert!(stopped.text().starts_with(&first), "{stopped:?}");
    // The connection of `start` may be counted as well.
    let nothing = "\n  nothing was lost: no request was in flight on its ";
    assert!(stopped.text().contains(nothing), "{stopped:?}");

    let started = services.json(0, &["start", "cache"]);
    signal("STOP", pid(&started));
    let killed = services.json(0, &["stop", "cache", "--deadline", "100ms"]);
    assert_eq!((&killed["outcome"], &killed["pid"]), (&"killed".into(), &started["pid"]));
    assert!(killed["connections_open"].is_null() && killed["requests_in_flight"].is_null());
    let nobody = services.run(&["stop", "cache"]);
    assert_eq!(nobody.text(), "not running: cache had no daemon\n");
}

#[test]
fn a_daemon_is_reached_by_the_name_of_its_service_and_by_its_identity_file() {
    let services = Services::new();
    services.configure_cache("cache", "");
    for command in [
        &["top", "cache", "--once"][..],
        &["probe", "cache"],
        &["call", "cache", "--protocol", "0xF0CA", "PING"],
    ] {
        let stopped = services.run(command);
        stopped.fails_with(
            1,
            &["cache has no daemon: there is no identity file", "running-process start cache"],
        );
    }
    services.json(0, &["start", "cache"]);
    let file = services.json(0, &["status", "cache"])["identity_file"].as_str().unwrap().to_owned();
    for daemon in ["cache", &file] {
        assert_eq!(services.json(0, &["probe", daemon])["verdict"], "yes");
        let call = services.run(&["call", daemon, "--protocol", "0xF0CA", "PING"]);
        assert_eq!(call.text(), "+PONG\r\n", "{call:?}");
        assert!(services.json(0, &["top", daemon, "--once"])["requests_answered"].as_u64() > Some(0));
        let load = ["load", daemon, "--protocol", "0xF0CA", "--requests", "3", "--warm-up", "0s", "PING"];
        assert_eq!(services.json(0, &load)["requests"]["answered"], 3);
    }
    // A file here is meant before a service, and a path never means a service.
    let other = services.path("elsewhere");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("cache"), "no identity").unwrap();
    let here = |argument| finish(services.command(&["probe", argument]).current_dir(&other));
    here("cache").fails_with(2, &["the identity file cache cannot be used"]);
    here("./chace").fails_with(2, &["there is no identity file ./chace"]);
    here("chace").fails_with(2, &["error: no service is called \"chace\", known are cache"]);
}
