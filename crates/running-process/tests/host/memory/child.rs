//! A server in a process of its own, and what the system says of that.

use crate::daemon::{Daemon, Driver};
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
    /// Answers with as many bytes as the payload says.
    pub(super) const ANSWER: u32 = 0xF020;
    /// The same, inline.
    pub(super) const INLINE: u32 = 0xF021;
    /// Sends events of as many bytes as the payload says, without end.
    pub(super) const EVENTS: u32 = 0xF022;
    /// Never answers.
    pub(super) const KEEP: u32 = 0xF023;
}

/// What all connections together may use, in bytes.
pub(super) const BUDGET: usize = 64 << 20;
/// More than the system's part of the memory of a process varies by.
const SLACK: usize = 32 << 20;
/// How long a peer that does not read is waited for.
const WRITE: Duration = Duration::from_millis(500);

const SOCKET: &str = "MEMORY_TEST_SOCKET";
const STRANGERS: &str = "MEMORY_TEST_STRANGERS";
const MEMORY: &str = "MEMORY_TEST_BUDGET";

/// One at a time, and the machine has the memory for it.
static ALONE: Mutex<()> = Mutex::new(());

pub(super) struct Child {
    place: Place,
    process: std::process::Child,
    budget: usize,
    idle: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Child {
    /// A server that serves this user.
    pub(super) fn start(test: &str) -> Self {
        Self::start_with(test, BUDGET, |_| {})
    }

    /// A server that serves nobody.
    pub(super) fn of_strangers(test: &str) -> Self {
        Self::start_with(test, BUDGET, |command| {
            command.env(STRANGERS, "1");
        })
    }

    /// A server that serves this user, within another budget.
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
        // A probe is answered, so the executable was read.
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

    /// Waits until what the server has counted is as expected.
    pub(super) fn until(&self, expected: impl Fn(&ServerStatus) -> bool) {
        let mut client = self.client();
        eventually(|| {
            let response = client.request(STATUS_PAYLOAD_PROTOCOL, Vec::new()).unwrap();
            expected(&ServerStatus::from_payload(&response.payload).unwrap()).then_some(())
        });
    }

    /// Waits until the server has ended every connection but the one that asks.
    pub(super) fn until_alone(&self) {
        self.until(|status| status.connections_open == 1);
    }

    /// A line of `/proc/PID/status`, in bytes.
    fn memory(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// The peak of its memory was within the budget, besides `in_hands` bytes that handlers may have had at once.
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

/// Serves in this process until the standard input ends. Nothing happens if no test asks for it.
pub(super) fn serve<D: Driver>() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let strangers = std::env::var(STRANGERS).is_ok();
    std::thread::spawn(|| {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut config = ServerConfig::default();
    config.memory = std::env::var(MEMORY).unwrap().parse().unwrap();
    config.write = WRITE;
    let never = || NotAuthorized::new("nobody is");
    let one = Mutex::new(());
    let bytes = |payload: &[u8]| -> Result<usize, HandlerError> {
        Ok(usize::try_from(u32::from_le_bytes(payload.try_into()?))?)
    };
    let daemon = D::bind(Endpoint::unix_socket("memory", socket).unwrap()).unwrap();
    // One thread at a time makes an answer, and none that nobody waits for. Of tasks there are not many at a time.
    let daemon = if matches!(daemon, Daemon::Threads(_)) {
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
        .serve_inline(INLINE, move |request| Ok(vec![7; bytes(request.payload)?]))
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
