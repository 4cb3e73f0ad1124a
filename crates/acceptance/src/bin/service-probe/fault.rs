//! Faults of daemons, and processes that take their place.

use running_process_acceptance::TEST_TIMEOUT;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Interval of looks at a file of the test's, and of reports.
const INTERVAL: Duration = Duration::from_millis(2);

/// A name that one process at a time has, which no file and no lock of the library has a part in.
pub(crate) struct Alone {
    _name: Option<UnixListener>,
}

impl Alone {
    /// Takes the name, or calls `second` if another process keeps it: a daemon that ends gives its lock away a moment before.
    pub(crate) fn claim(marker: &str, second: impl FnOnce()) -> Self {
        let address = SocketAddr::from_abstract_name(format!("service-probe {marker}")).unwrap();
        let deadline = Instant::now() + Duration::from_millis(500);
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(name) => return Self { _name: Some(name) },
                Err(_) if Instant::now() < deadline => thread::sleep(INTERVAL),
                Err(_) => {
                    second();
                    return Self { _name: None };
                }
            }
        }
    }
}

/// Does nothing for as long as a test takes.
pub(crate) fn hang() {
    thread::sleep(3 * TEST_TIMEOUT);
    std::process::exit(1);
}

/// Waits until the test makes a file.
pub(crate) fn wait_for(path: &Path) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !path.exists() && Instant::now() < deadline {
        thread::sleep(INTERVAL);
    }
}

/// Reports to the starter.
pub(crate) fn notify(text: &str) {
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap();
    // The starter may have given up.
    let _ = UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), socket);
}

/// Reports a status every tenth of a second for `time`.
pub(crate) fn report_progress(time: Duration) {
    let end = Instant::now() + time;
    for step in 0.. {
        if Instant::now() >= end {
            return;
        }
        notify(&format!("STATUS=step {step}"));
        thread::sleep(Duration::from_millis(100));
    }
}

/// Asks for twice the time that it needs, and needs it.
pub(crate) fn extend(time: Duration) {
    notify(&format!("EXTEND_TIMEOUT_USEC={}\nSTATUS=migrating", 2 * time.as_micros()));
    thread::sleep(time);
}

/// Starts a child that gets the descriptor of the lock, because the daemon has not taken it yet.
pub(crate) fn leave_lock_to_child(marker: &str) {
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new(own);
    child.args(["keep", marker]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[allow(clippy::zombie_processes, reason = "the daemon dies first")]
    child.spawn().unwrap();
}

/// Lives for as long as a test takes, with all its descriptors.
pub(crate) fn keep() {
    thread::sleep(3 * TEST_TIMEOUT);
}

/// Writes so many megabytes of lines to the log.
pub(crate) fn print_megabytes(megabytes: usize) {
    let line = [&[b'x'; 99][..], b"\n"].concat();
    let block = line.repeat(100);
    let mut stderr = std::io::stderr();
    for _ in 0..megabytes * 100 {
        stderr.write_all(&block).unwrap();
    }
}

/// Kills this process `time` after it is ready, as its identity file shows.
pub(crate) fn crash_after_ready(time: Duration) {
    let root = std::env::var_os("RUNNING_PROCESS_SERVICE_ROOT").unwrap();
    let name = std::env::var_os("RUNNING_PROCESS_SERVICE").unwrap();
    let identity_file = Path::new(&root).join(name).join("identity.json");
    thread::spawn(move || {
        let own = format!("\"pid\":{}", std::process::id());
        let is_own = || {
            let mut text = String::new();
            let read = File::open(&identity_file).and_then(|mut file| file.read_to_string(&mut text));
            text.retain(|character| !character.is_whitespace());
            read.is_ok() && text.contains(&own)
        };
        while !is_own() {
            thread::sleep(INTERVAL);
        }
        thread::sleep(time);
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    });
}

/// Takes the name of a socket away from its daemon, and answers each connection with what it has sent.
pub(crate) fn impostor(socket: &OsStr) {
    let new = Path::new(socket).with_extension("new");
    let listener = UnixListener::bind(&new).unwrap();
    std::fs::rename(&new, socket).unwrap();
    println!("ready");
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        let mut bytes = [0; 4096];
        let received = connection.read(&mut bytes).unwrap_or(0);
        // The client may have gone.
        let _ = connection.write_all(&bytes[..received]);
        let _ = connection.shutdown(Shutdown::Write);
    }
}
