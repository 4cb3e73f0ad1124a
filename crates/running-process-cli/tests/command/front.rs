//! `front` before real daemons of others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test code")]

mod ends;
mod programs;
mod refused;
mod restart;

use crate::common::service::{Services, pid};
use crate::common::{WATCHDOG, text};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

/// A front in a directory of the test's own, with the pid of the daemon behind it.
struct Front {
    services: Services,
    file: String,
    pid: u32,
    fronted: u32,
    socket: String,
}

impl Front {
    /// Starts the front of a daemon that `command` starts, a list in TOML in which `SOCKET` stands for the path of its socket.
    #[track_caller]
    fn of_socket(command: &str) -> Self {
        let services = Services::new();
        let socket = upstream(&services);
        let file =
            file(&services, &command.replace("SOCKET", text(&socket)), &format!("unix:{}", socket.display()));
        Self::start(services, file)
    }

    /// Starts the front of a daemon that speaks frames itself.
    #[track_caller]
    fn of_cache() -> Self {
        let services = Services::new();
        let (socket, own) = (upstream(&services), services.path("own.json"));
        let own = own.display();
        let command =
            format!("['{PROGRAM}', 'serve', '--socket', '{}', '--identity', '{own}']", socket.display());
        let file = file(&services, &command, &format!("unix:{}", socket.display()));
        Self::start(services, file)
    }

    #[track_caller]
    fn start(services: Services, file: String) -> Self {
        let started = services.json(0, &["start", "--file", &file]);
        let identity = identity(&services);
        Self {
            pid: pid(&started),
            fronted: pid(&identity["fronts"]),
            socket: started["socket"].as_str().unwrap().to_owned(),
            services,
            file,
        }
    }

    #[track_caller]
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        stream
    }

    /// Waits until the log has `words`: the front does not wait for its messages to be written.
    #[track_caller]
    fn logs(&self, words: &str) {
        let began = Instant::now();
        let log = || std::fs::read_to_string(self.services.root().join("fronted/log")).unwrap();
        while !log().contains(words) {
            assert!(began.elapsed() < WATCHDOG, "{words:?} is not in {}", log());
            std::thread::yield_now();
        }
    }
}

/// Returns the path of the socket of the daemon behind a front.
fn upstream(services: &Services) -> PathBuf {
    services.path("upstream")
}

/// Returns an address that was free a moment ago. No other process of tests takes one of this loopback address.
fn free_address() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    TcpListener::bind((Ipv4Addr::new(127, high, middle, low), 0)).unwrap().local_addr().unwrap()
}

/// Writes the file of a front, and returns its path.
fn file(services: &Services, command: &str, address: &str) -> String {
    services.file("fronted", &format!("[front]\ncommand = {command}\nconnect = '{address}'"))
}

fn identity(services: &Services) -> Value {
    let file = services.root().join("fronted/identity.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_running-process");
/// The payload protocol of the daemon `serve`.
const CACHE: u32 = 0xF0CA;
/// A daemon that sends back what it gets.
const ECHO: &str = "['socat', 'UNIX-LISTEN:SOCKET,fork', 'EXEC:cat']";

/// Returns whether the programs are installed, and says so if one is not.
fn installed(programs: &[&str]) -> bool {
    programs.iter().all(|program| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).any(|directory| directory.join(program).exists());
        if !found {
            eprintln!("skipped: {program} is not installed");
        }
        found
    })
}
