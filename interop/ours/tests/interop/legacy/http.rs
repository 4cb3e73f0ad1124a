//! curl and h2load at a daemon whose legacy wire is HTTP, served by axum and hyper.

use super::{Daemon, Program, beside_framed_clients, bounded, output};
use crate::support::skip::installed;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const HTTP: Program = Program::Legacy("http");
/// Both versions of HTTP, and the name that axum gives them. The second one begins without any negotiation.
const VERSIONS: [(&str, &str); 2] = [("--http1.1", "HTTP/1.1\n"), ("--http2-prior-knowledge", "HTTP/2.0\n")];

fn curl(socket: &Path, arguments: &[&str]) -> Command {
    let mut curl = bounded("curl");
    curl.args(["-sS", "--fail", "--unix-socket"]).arg(socket).args(arguments);
    curl
}

#[test]
fn curl_gets_pages_in_both_versions_of_http_beside_framed_clients() {
    if !installed("curl") {
        return;
    }
    let daemon = Daemon::start(HTTP);
    let socket = daemon.socket();
    // More than a socket's buffer, less than axum takes.
    let body = (0..1_500_000_u32).map(|number| number.to_le_bytes()[0]).collect::<Vec<u8>>();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, &body).unwrap();
    let upload = format!("@{}", file.path().display());
    beside_framed_clients(&daemon.identity_file(), || {
        for (version, name) in VERSIONS {
            assert_eq!(output(&mut curl(&socket, &[version, "http://daemon/version"])), name);
            let long = output(&mut curl(&socket, &[version, "http://daemon/long"]));
            assert!(long == "0123456789abcdef".repeat(1 << 18), "{version}: {} bytes", long.len());
            let echo =
                curl(&socket, &[version, "--data-binary", &upload, "http://daemon/echo"]).output().unwrap();
            assert!(echo.stdout == body, "{version}: {} bytes, {:?}", echo.stdout.len(), echo.stderr);
            let absent = curl(&socket, &[version, "http://daemon/absent"]).output().unwrap();
            assert!(String::from_utf8_lossy(&absent.stderr).contains("404"), "{absent:?}");
        }
    });
    daemon.stop();
}

/// The curl of Debian 12 fails at the second request of a connection of HTTP/2, whatever the server.
#[test]
fn curl_sends_many_requests_of_http_1_on_one_connection() {
    if !installed("curl") {
        return;
    }
    let daemon = Daemon::start(HTTP);
    let arguments = ["--http1.1", "-w", "%{num_connects}\n", "http://daemon/version?[1-20]"];
    let pages = output(&mut curl(&daemon.socket(), &arguments));
    let connects: u32 = pages.lines().filter_map(|line| line.parse::<u32>().ok()).sum();
    assert_eq!((connects, pages.matches("HTTP/1.1\n").count()), (1, 20), "{pages}");
    daemon.stop();
}

#[test]
fn h2load_has_many_streams_in_flight_beside_framed_clients() {
    if !installed("h2load") {
        return;
    }
    let daemon = Daemon::start(HTTP);
    let base = format!("unix:{}", daemon.socket().display());
    let report = beside_framed_clients(&daemon.identity_file(), || {
        let load = ["-n", "5000", "-c", "4", "-m", "32", "-B", &base, "http://daemon/version"];
        output(bounded("h2load").args(load))
    });
    assert!(report.contains(" 5000 succeeded, 0 failed, 0 errored"), "{report}");
    daemon.stop();
}

/// The end of the daemon is not the end of a client's input, at which hyper would drop the requests in flight.
#[test]
fn requests_in_flight_are_answered_after_the_daemon_was_stopped() {
    if !installed("curl") {
        return;
    }
    let daemon = Daemon::start(HTTP);
    let held = VERSIONS.map(|(version, _)| {
        let mut curl = curl(&daemon.socket(), &[version, "http://daemon/held"]);
        curl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    // The page counts the requests that wait, so this ends once both do.
    while output(&mut curl(&daemon.socket(), &["http://daemon/waiting"])) != "2" {}
    let directory = daemon.stop();
    for answered in held.map(Child::wait_with_output) {
        let answered = answered.unwrap();
        assert!(answered.status.success() && answered.stdout == b"answered after the stop\n", "{answered:?}");
    }
    assert!(!directory.path().join("identity.json").exists() && !directory.path().join("socket").exists());
}
