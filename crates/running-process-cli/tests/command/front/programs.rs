//! Clients and daemons that know nothing of the front.

use super::{ECHO, Front, file, free_address, installed};
use crate::common::service::Services;
use crate::common::{finish, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};

const REDIS: &str = "['redis-server', '--unixsocket', 'SOCKET', '--port', '0', '--save', '']";

fn redis_cli(front: &Front, arguments: &[&str]) -> String {
    let finished = finish(Command::new("redis-cli").args(["-s", &front.socket]).args(arguments));
    assert_eq!(finished.status, 0, "{finished:?}");
    finished.text().to_owned()
}

#[test]
fn redis_cli_and_redis_benchmark_work_through_a_front() {
    if !installed(&["redis-server", "redis-cli", "redis-benchmark"]) {
        return;
    }
    let front = Front::of_socket(REDIS);
    assert_eq!(redis_cli(&front, &["SET", "key", "value"]), "OK\n");
    assert_eq!(redis_cli(&front, &["GET", "key"]), "value\n");
    assert_eq!(redis_cli(&front, &["-r", "100", "INCR", "n"]).lines().last(), Some("100"));
    let large = "x".repeat(4 << 20);
    let mut set = Command::new("redis-cli");
    set.args(["-s", &front.socket, "-x", "SET", "large"]);
    assert_eq!(crate::common::finish_with_input(&mut set, large.as_bytes()).text(), "OK\n");
    assert_eq!(redis_cli(&front, &["GET", "large"]).trim_end(), large);
    for more in [&["-P", "1"], &["-P", "16"]] {
        let mut benchmark = Command::new("redis-benchmark");
        benchmark.args(["-s", &front.socket, "-n", "1000", "-c", "50", "--csv"]).args(more);
        let finished = finish(benchmark.args(["-t", "ping,set,get,incr,lpush,lrange_100,mset"]));
        assert_eq!(finished.status, 0, "{finished:?}");
        assert!(finished.text().contains("\"MSET (10 keys)\""), "{finished:?}");
        assert!(!finished.text().contains("rror"), "{finished:?}");
    }
    let program = std::fs::read_to_string(format!("/proc/{}/comm", front.fronted)).unwrap();
    assert_eq!(program, "redis-server\n");
}

#[test]
fn memcached_works_behind_a_front_over_a_port() {
    if !installed(&["memcached"]) {
        return;
    }
    let address = free_address();
    let (ip, port) = (address.ip(), address.port());
    let services = Services::new();
    let command = format!("['memcached', '-l', '{ip}', '-p', '{port}', '-u', 'root']");
    let file = file(&services, &command, &format!("tcp:{address}"));
    let front = Front::start(services, file);
    let mut client = front.connect();
    client.write_all(b"set key 0 0 5\r\nvalue\r\nget key\r\nquit\r\n").unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "STORED\r\nVALUE key 0 5\r\nvalue\r\nEND\r\n");
}

/// Serves pages of HTTP until the test ends, and returns its port and the paths that were asked for.
fn pages() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asks = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = BufReader::new(&stream).lines().map_while(Result::ok);
            let Some(first) = request.next() else { continue };
            for _header in request.take_while(|line| !line.is_empty()) {}
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let page = format!("page {path}\n").repeat(if path == "/large" { 500_000 } else { 1 });
            asks.lock().unwrap().push(path);
            let length = page.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n");
            let _gone =
                stream.write_all(format!("{head}Cache-Control: max-age=600\r\n\r\n{page}").as_bytes());
        }
    });
    (port, asked)
}

#[test]
fn curl_and_varnish_work_through_a_front_over_a_port() {
    if !installed(&["varnishd", "curl"]) {
        return;
    }
    let (address, (pages, asked)) = (free_address(), pages());
    let services = Services::new();
    // Its files are in a directory of its own, and its number of threads is small.
    let command = format!(
        "['varnishd', '-F', '-j', 'none', '-n', '{}', '-a', '{address}', '-b', '127.0.0.1:{pages}', '-T', 'none', \
          '-s', 'malloc,64m', '-p', 'thread_pools=1', '-p', 'thread_pool_min=5']",
        services.path("varnish").display()
    );
    let file = file(&services, &command, &format!("tcp:{address}"));
    let front = Front::start(services, file);
    let curl = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        let finished = finish(curl.args(["-sSf", "--unix-socket", &front.socket]).args(arguments));
        assert_eq!(finished.status, 0, "{finished:?}");
        finished.text().to_owned()
    };
    assert_eq!(curl(&["http://pages/one"]), "page /one\n");
    let again = curl(&["-i", "http://pages/one"]);
    assert!(again.ends_with("\r\n\r\npage /one\n") && again.contains("\r\nVia: 1.1 varnish"), "{again}");
    assert_eq!(*asked.lock().unwrap(), ["/one"], "the second answer is from the cache of varnish");
    assert_eq!(curl(&["http://pages/large"]).len(), "page /large\n".len() * 500_000);
    // Many requests on one connection, then many connections at once.
    for how in [&["http://pages/[1-20]"][..], &["--parallel", "--parallel-immediate", "http://pages/[1-20]"]]
    {
        let mut answers: Vec<_> = curl(how).lines().map(str::to_owned).collect();
        answers.sort_unstable();
        let mut expected: Vec<_> = (1..=20).map(|number| format!("page /{number}")).collect();
        expected.sort_unstable();
        assert_eq!(answers, expected);
    }
    assert_eq!(asked.lock().unwrap().len(), 22);
}

#[test]
fn the_end_of_input_passes_through_in_both_directions() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let mut client = front.connect();
    let mut reader = client.try_clone().unwrap();
    let received = std::thread::spawn(move || {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).map(|_| received)
    });
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(received.join().unwrap().unwrap() == sent, "other bytes came back");
}

#[test]
fn a_daemon_that_speaks_first_is_heard_and_probes_are_answered() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket("['socat', 'UNIX-LISTEN:SOCKET,fork', 'SYSTEM:echo 220 ready; cat']");
    for _ in 0..3 {
        let mut client = front.connect();
        let mut banner = [0; 10];
        client.read_exact(&mut banner).unwrap();
        assert_eq!(&banner, b"220 ready\n");
        client.write_all(b"EHLO").unwrap();
        let mut echoed = [0; 4];
        client.read_exact(&mut echoed).unwrap();
        assert_eq!(&echoed, b"EHLO");
        assert_eq!(front.services.json(0, &["status", "--file", &front.file])["state"], "live");
    }
}

#[test]
fn a_client_that_says_nothing_is_connected_and_takes_no_pipe() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", front.pid)).unwrap().count();
    let before = descriptors();
    let mut clients: Vec<_> = (0..50).map(|_| front.connect()).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    let opened = descriptors() - before;
    // Two sockets each, and the pipes that the front keeps.
    assert!((100..=200).contains(&opened), "{opened}");
    let mut silent = front.connect();
    // It stays open for longer than a client that probes may be silent.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    silent.write_all(b"late").unwrap();
    let mut echoed = [0; 4];
    silent.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"late");
}

#[test]
fn a_probe_tells_and_proves_the_daemon_behind_the_front() {
    if !installed(&["socat"]) {
        return;
    }
    let front = Front::of_socket(ECHO);
    let identity_file = front.services.root().join("fronted/identity.json");
    let probed = front.services.json(0, &["probe", text(&identity_file)]);
    assert_eq!(probed["identity"]["fronts"]["pid"], front.fronted);
    let step = probed["steps"].as_array().unwrap().last().unwrap();
    assert_eq!((&step["step"], &step["verdict"]), (&"fronted".into(), &"proven".into()));
    let shown = front.services.run(&["probe", text(&identity_file)]);
    let line = format!("  proven    fronted        process {} started ", front.fronted);
    assert!(shown.text().contains(&line), "{shown:?}");
    let told = format!("before process {} (", front.fronted);
    front.logs(&told);
}

#[test]
fn frames_for_the_daemon_behind_the_front_reach_it() {
    let front = Front::of_cache();
    let identity_file = front.services.root().join("fronted/identity.json");
    let reply = front.services.run(&["call", text(&identity_file), "--protocol", "0xF0CA", "PING"]);
    assert_eq!((reply.status, reply.text()), (0, "+PONG\r\n"), "{reply:?}");
    let mut legacy = front.connect();
    legacy.write_all(b"PING\r\n").unwrap();
    let mut pong = [0; 7];
    legacy.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
}
