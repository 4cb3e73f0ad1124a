//! A server in a process of its own, and its memory as the system reports it.

#[cfg(any())]
use crate::daemon::Daemon;
use crate::daemon::Driver;
use crate::support::{PATIENCE, Place, eventually};
use running_process::broker::backend_sdk::{
    FrameClient, HandlerError, LegacyClassification, LocalStream, NotAuthorized, ServerConfig,
};
use running_process::broker::protocol::{ENVELOPE_VERSION, Endpoint, STATUS_PAYLOAD_PROTOCOL, ServerStatus};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

running_process::register_payload_protocol! {
    /// Protocol whose handler answers with as many bytes as the payload says.
    pub(super) const ANSWER: u32 = 0xF020;
    /// Protocol that does the same, inline.
    pub(super) const INLINE: u32 = 0xF021;
    /// Protocol whose handler sends events of as many bytes as the payload says, without end.
    pub(super) const EVENTS: u32 = 0xF022;
    /// Protocol whose handler never answers.
    pub(super) const KEEP: u32 = 0xF023;
}

/// Budget of all connections together, in bytes.
pub(super) const BUDGET: usize = 64 << 20;
/// Upper bound of the variation in a process's other memory, in bytes.
const SLACK: usize = 32 << 20;
/// Write timeout for a peer that does not read.
const WRITE: Duration = Duration::from_millis(500);

const SOCKET: &str = "MEMORY_TEST_SOCKET";
const STRANGERS: &str = "MEMORY_TEST_STRANGERS";
const MEMORY: &str = "MEMORY_TEST_BUDGET";

/// Held by the current test, so that the machine has the memory for it.
static ALONE: Mutex<()> = Mutex::new(());

pub(super) struct Child {
    place: Place,
    process: std::process::Child,
    budget: usize,
    idle: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Child {
    /// Starts a server that serves this user.
    pub(super) fn start(test: &str) -> Self {
        Self::start_with(test, BUDGET, |_| {})
    }

    /// Starts a server that authorizes no peer.
    pub(super) fn of_strangers(test: &str) -> Self {
        Self::start_with(test, BUDGET, |command| {
            command.env(STRANGERS, "1");
        })
    }

    /// Starts a server that serves this user, with another budget.
    #[cfg(any(feature = "lz4", feature = "snappy", feature = "zstd"))]
    pub(super) fn within(test: &str, budget: usize) -> Self {
        Self::start_with(test, budget, |_| {})
    }

    fn start_with(test: &str, budget: usize, prepare: impl FnOnce(&mut Command)) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Place::new();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(SOCKET, &place.endpoint.path).env(MEMORY, budget.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        prepare(&mut command);
        let process = command.spawn().unwrap();
        let mut child = Self { place, process, budget, idle: 0, _alone: alone };
        // The server answers a probe, so it has read its executable.
        eventually(|| child.probe().ok());
        child.idle = child.memory("VmRSS");
        child
    }

    fn probe(&self) -> Result<(), Box<dyn std::error::Error>> {
        let deadline = std::time::Instant::now() + PATIENCE;
        running_process::broker::backend_lifecycle::probe::probe_endpoint(&self.place.endpoint, deadline)?;
        Ok(())
    }

    pub(super) fn connect(&self) -> LocalStream {
        eventually(|| LocalStream::connect(&self.place.endpoint.path).ok())
    }

    pub(super) fn client(&self) -> FrameClient {
        let mut client = FrameClient::from_stream(self.connect());
        client.set_timeout(Some(PATIENCE));
        client
    }

    /// Waits until the server's status is as expected.
    pub(super) fn until(&self, expected: impl Fn(&ServerStatus) -> bool) {
        let mut client = self.client();
        eventually(|| {
            let response = client.request(STATUS_PAYLOAD_PROTOCOL, Vec::new()).unwrap();
            expected(&ServerStatus::from_payload(&response.payload).unwrap()).then_some(())
        });
    }

    /// Waits until the server has ended every connection except that of this query.
    pub(super) fn until_alone(&self) {
        self.until(|status| status.connections_open == 1);
    }

    /// Returns the value of a line of `/proc/PID/status`, in bytes.
    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Checks that the peak of its memory is within the budget plus `in_hands` bytes that handlers may hold at once.
    #[track_caller]
    pub(super) fn assert_within(&self, in_hands: usize) {
        let peak = self.memory("VmHWM").saturating_sub(self.idle);
        let most = self.budget / 10 * 11 + SLACK + in_hands;
        println!("{} MiB above {} MiB, at most {} MiB", peak >> 20, self.idle >> 20, most >> 20);
        assert!(peak <= most, "{} MiB, at most {} MiB", peak >> 20, most >> 20);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Either fails if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves in this process until the standard input ends. Returns at once unless a test has set the environment for it.
pub(super) fn serve<D: Driver>() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let strangers = std::env::var(STRANGERS).is_ok();
    std::thread::spawn(|| {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut config = ServerConfig::default();
    config.memory_limit = std::env::var(MEMORY).unwrap().parse().unwrap();
    config.write_timeout = WRITE;
    let never = || NotAuthorized::new("nobody is");
    let one = Mutex::new(());
    let bytes = |payload: &[u8]| -> Result<usize, HandlerError> {
        Ok(usize::try_from(u32::from_le_bytes(payload.try_into()?))?)
    };
    let daemon = D::bind(Endpoint::unix_socket("memory", socket).unwrap()).unwrap();
    // One thread at a time creates an answer, and none for a cancelled request. Few tasks run at a time.
    #[cfg(any())]
    let on_threads = matches!(daemon, Daemon::Threads(_));
    #[cfg(not(any()))]
    let on_threads = false;
    let daemon = if on_threads {
        daemon.serve(ANSWER, move |request| {
            let length = bytes(request.payload())?;
            let _alone = one.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(if request.cancelled().is_none() { vec![7; length] } else { Vec::new() })
        })
    } else {
        daemon.serve_quickly(ANSWER, move |request| Ok(vec![7; bytes(request.payload())?]))
    };
    daemon
        .config(config)
        .observe(|trouble| eprintln!("{trouble}"))
        .authorize(move |_| (!strangers).then_some(()).ok_or_else(never))
        .serve_inline(INLINE, move |request| Ok(vec![7; bytes(request.payload())?]))
        .serve(EVENTS, move |request| {
            let event = vec![7; bytes(request.payload())?];
            loop {
                request.send_event(&event)?;
            }
        })
        .serve(KEEP, |_| {
            let (gate, never) = (Mutex::new(()), Condvar::new());
            let mut closed = gate.lock().unwrap();
            loop {
                closed = never.wait(closed).unwrap();
            }
        })
        .legacy(
            |buffer| match *buffer {
                [ENVELOPE_VERSION, ..] => LegacyClassification::NotLegacy,
                [_, .., b'!'] => LegacyClassification::Legacy,
                _ => LegacyClassification::NeedMoreBytes,
            },
            |_connection| loop {
                std::thread::park();
            },
        )
        .run()
        .unwrap();
}
