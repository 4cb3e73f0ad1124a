//! A server in a process of its own, and its memory as the system reports it.

use crate::daemon::Daemon;
use crate::support::{
    ChildProcess, PATIENCE, TempEndpoint, alone, end_with_parent, eventually, process_memory, soon,
    test_command,
};
use running_process::broker::backend_sdk::{
    FrameClient, HandlerError, LegacyClassification, LocalStream, NotAuthorized, ServerConfig,
};
use running_process::broker::protocol::{ENVELOPE_VERSION, Endpoint, STATUS_PAYLOAD_PROTOCOL, ServerStatus};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
/// Upper bound of the change in a process's other memory, in bytes.
const SLACK: usize = 32 << 20;
/// Write timeout for a peer that does not read.
const WRITE: Duration = Duration::from_millis(500);

const SOCKET: &str = "MEMORY_TEST_SOCKET";
const STRANGERS: &str = "MEMORY_TEST_STRANGERS";
const MEMORY: &str = "MEMORY_TEST_BUDGET";

pub(super) struct Child {
    temp: TempEndpoint,
    process: ChildProcess,
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
        let alone = alone();
        let temp = TempEndpoint::new();
        let mut command = test_command(test);
        command.env(SOCKET, &temp.endpoint.path).env(MEMORY, budget.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        prepare(&mut command);
        let process = ChildProcess::spawn(&mut command);
        let mut child = Self { temp, process, budget, idle: 0, _alone: alone };
        // The server answers a probe, so it has read its executable.
        eventually(|| child.probe().ok());
        child.idle = process_memory(child.process.id(), "VmRSS");
        child
    }

    fn probe(&self) -> Result<(), Box<dyn std::error::Error>> {
        running_process::broker::backend_lifecycle::probe::probe_endpoint(&self.temp.endpoint, soon())?;
        Ok(())
    }

    pub(super) fn connect(&self) -> LocalStream {
        eventually(|| LocalStream::connect(&self.temp.endpoint.path).ok())
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

    /// Checks that the peak of its memory is within the budget plus `in_hands` bytes that handlers may hold at once.
    #[track_caller]
    pub(super) fn assert_within(&self, in_hands: usize) {
        let peak = process_memory(self.process.id(), "VmHWM").saturating_sub(self.idle);
        let most = self.budget / 10 * 11 + SLACK + in_hands;
        println!("{} MiB above {} MiB, at most {} MiB", peak >> 20, self.idle >> 20, most >> 20);
        assert!(peak <= most, "{} MiB, at most {} MiB", peak >> 20, most >> 20);
    }
}

/// Serves in this process until the standard input ends. Returns at once unless a test has set the environment for it.
pub(super) fn serve<D: Daemon>() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let strangers = std::env::var(STRANGERS).is_ok();
    end_with_parent();
    let mut config = ServerConfig::default();
    config.memory_limit = std::env::var(MEMORY).unwrap().parse().unwrap();
    config.write_timeout = WRITE;
    let never = || NotAuthorized::new("nobody is");
    let one = Mutex::new(());
    let bytes = |payload: &[u8]| -> Result<usize, HandlerError> {
        Ok(usize::try_from(u32::from_le_bytes(payload.try_into()?))?)
    };
    let daemon = D::bind(Endpoint::unix_socket("memory", socket).unwrap()).unwrap();
    // One thread at a time creates an answer, and none for a cancelled request.
    let daemon = if D::RUNS_FEW_HANDLERS {
        daemon.serve_quickly(ANSWER, move |request| Ok(vec![7; bytes(request.payload())?]))
    } else {
        daemon.serve(ANSWER, move |request| {
            let length = bytes(request.payload())?;
            let _alone = one.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(if request.cancelled().is_none() { vec![7; length] } else { Vec::new() })
        })
    };
    daemon
        .config(config)
        .observe(|error| eprintln!("{error}"))
        .authorize(move |_| (!strangers).then_some(()).ok_or_else(never))
        .serve_inline(INLINE, move |request| Ok(vec![7; bytes(request.payload())?]))
        .serve(EVENTS, move |request| {
            let event = vec![7; bytes(request.payload())?];
            loop {
                request.send_event(&event)?;
            }
        })
        .serve(KEEP, |_| {
            loop {
                std::thread::park();
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
