//! The command's cache, used by the tools of Redis.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::LocalStream;
use running_process_acceptance::{Daemon, StreamExt, TEST_TIMEOUT, installed, run};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

running_process::register_payload_protocol! {
    const CACHE: u32 = 0xF0CA;
}

/// Starts the cache, unless the tools of Redis are missing.
fn cache() -> Option<Daemon> {
    let tools = installed("redis-cli", &["--version"]) && installed("redis-benchmark", &["--version"]);
    tools.then(|| Daemon::cache(env!("CARGO_BIN_EXE_length-prefixed-daemon")))
}

/// Returns the output of redis-cli for one command.
#[track_caller]
fn redis(cache: &Daemon, arguments: &[&str]) -> String {
    let output = run(Command::new("redis-cli").args(["-s", &cache.socket]).args(arguments), b"");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn redis_cli_gets_what_it_expects() {
    let Some(cache) = cache() else { return };
    for (command, expected) in [
        ("PING", "PONG"),
        ("ECHO hello", "hello"),
        ("GET missing", ""),
        ("SET answer 41", "OK"),
        ("INCR answer", "42"),
        ("GET answer", "42"),
        ("EXISTS answer missing", "1"),
        ("MSET a 1 b 2", "OK"),
        ("MGET a missing b", "1\n\n2"),
        ("DBSIZE", "3"),
        ("TTL a", "-1"),
        ("TTL missing", "-2"),
        ("SET brief x EX 100", "OK"),
        ("KEYS ans*", "answer"),
        ("DEL answer a b brief", "4"),
        ("DBSIZE", "0"),
        ("FLUSHALL", "OK"),
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        assert_eq!(redis(&cache, &arguments), format!("{expected}\n"), "{command}");
    }
    assert!(redis(&cache, &["NONSENSE"]).starts_with("ERR unknown command"));
}

#[test]
fn values_of_any_bytes_survive() {
    let Some(cache) = cache() else { return };
    let value: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let set = run(Command::new("redis-cli").args(["-s", &cache.socket, "-x", "SET", "binary"]), &value);
    assert_eq!(set.stdout, b"OK\n", "{set:?}");
    let get = run(Command::new("redis-cli").args(["-s", &cache.socket, "GET", "binary"]), b"");
    assert!(get.stdout == [&value[..], b"\n"].concat(), "{} bytes", get.stdout.len());
}

#[test]
fn redis_cli_loads_many_commands_through_one_pipe() {
    let Some(cache) = cache() else { return };
    let commands: Vec<_> = (0..5000).map(|number| format!("SET key:{number} value:{number}\r\n")).collect();
    let load = commands.concat();
    let output = run(Command::new("redis-cli").args(["-s", &cache.socket, "--pipe"]), load.as_bytes());
    let summary = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && summary.contains("errors: 0, replies: 5000"), "{output:?}");
    assert_eq!(redis(&cache, &["DBSIZE"]), "5000\n");
    assert_eq!(redis(&cache, &["GET", "key:4999"]), "value:4999\n");
}

#[track_caller]
fn benchmark(cache: &Daemon, arguments: &[&str]) {
    let output = run(Command::new("redis-benchmark").args(["-s", &cache.socket, "-q"]).args(arguments), b"");
    let report = String::from_utf8_lossy(&output.stdout);
    let complete = ["SET: ", "GET: "].iter().all(|test| report.contains(test)) && !report.contains("rror");
    assert!(output.status.success() && complete, "{output:?}");
}

#[test]
fn redis_benchmark_completes_with_pipelining() {
    let Some(cache) = cache() else { return };
    benchmark(&cache, &["-n", "2000", "-c", "10", "-P", "16", "-t", "set,get"]);
    assert_eq!(redis(&cache, &["PING"]), "PONG\n");
}

#[test]
fn frames_and_probes_go_on_beside_a_benchmark() {
    let Some(cache) = cache() else { return };
    let identity = cache.identity();
    let done = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut asked = 0;
            while asked < 20 || !done.load(Ordering::Relaxed) {
                let endpoint = &identity.ipc_endpoint;
                let handle = BackendHandle::probe_with_service("cache", "1", endpoint, &identity).unwrap();
                let mut client = handle.into_client();
                client.set_timeout(Some(TEST_TIMEOUT));
                assert_eq!(client.request(CACHE, b"INCR framed".to_vec()).unwrap().payload[0], b':');
                asked += 1;
            }
            asked
        });
        benchmark(&cache, &["-n", "5000", "-c", "10", "-P", "16", "-t", "set,get"]);
        done.store(true, Ordering::Relaxed);
        client.join().unwrap()
    });
    assert_eq!(redis(&cache, &["GET", "framed"]), format!("{asked}\n"));
}

#[test]
fn both_wires_see_the_same_entries() {
    let Some(cache) = cache() else { return };
    let mut client = cache.handle().into_client();
    client.set_timeout(Some(TEST_TIMEOUT));
    let mut framed = |command: &str| {
        let reply = client.request(CACHE, command.as_bytes().to_vec()).unwrap().payload;
        String::from_utf8(reply).unwrap()
    };
    assert_eq!(redis(&cache, &["SET", "from", "redis-cli"]), "OK\n");
    assert_eq!(framed("GET from"), "$9\r\nredis-cli\r\n");
    assert_eq!(framed("SET from frame"), "+OK\r\n");
    assert_eq!(redis(&cache, &["GET", "from"]), "frame\n");
    // An error on either wire costs neither connection.
    assert!(framed("NONSENSE").starts_with("-ERR unknown command"));
    assert_eq!(framed("PING"), "+PONG\r\n");
}

#[test]
fn a_cache_that_is_asked_to_end_answers_leaves_and_cleans_up() {
    let Some(mut cache) = cache() else { return };
    let idle = cache.connect();
    idle.send(b"PING\r\n");
    assert_eq!(idle.receive(7), b"+PONG\r\n");
    let handle = cache.handle();
    idle.send(b"SET last words\r\n");
    handle.shutdown(TEST_TIMEOUT).unwrap();
    assert!(cache.wait().success());
    assert_eq!(idle.receive_all(), b"+OK\r\n");
    assert!(!cache.identity_file.exists());
    assert!(!std::path::Path::new(&cache.socket).exists());
    assert!(LocalStream::connect(&cache.socket).is_err());
    let output = run(Command::new("redis-cli").args(["-s", &cache.socket, "PING"]), b"");
    assert!(!output.status.success());
}
