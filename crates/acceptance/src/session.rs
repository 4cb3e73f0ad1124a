//! A session of a client with the daemon `service-probe endpoint`: every kind of exchange, each answer checked.

use crate::Driver;
use crate::wire::{SHOUT, message, read_message};
use running_process::broker::backend_handle::{BackendHandle, BackendHandleError, DaemonProcess};
use running_process::broker::backend_sdk::{
    AsyncFrameClient, FrameClientError, LocalStream, Payload, RequestOptions, try_read_daemon_identity_file,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::error::Error;
use std::fmt;
use std::io::{self, PipeReader, Read, pipe};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The payloads that the daemon treats in their own way; it answers any other one in upper case.
pub const SLOW: &[u8] = b"slow";
/// Asks for the answer file.
pub const FILE: &[u8] = b"file";
/// Comes with the write end of a pipe, into which the daemon writes [`WRITTEN`].
pub const WRITE: &[u8] = b"write";
/// The bytes that the daemon writes into a passed pipe.
pub const WRITTEN: &[u8] = b"written by the daemon";
/// The content of the answer file.
pub const FILE_CONTENT: &[u8] = b"the content of the answer file";
/// The time that a slow request takes. It is above the one for which a handler may keep the polling thread.
pub const SLOW_TIME: Duration = Duration::from_millis(5);
/// Length of the large request and of its answer: it does not fit the buffers of a socket.
const LARGE_BYTES: usize = 400_000;

/// The reason why a session ended early. A wrong answer is none: it panics.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SessionError {
    NotRunning,
    IdentityFile(io::Error),
    Handle(BackendHandleError),
    Request(FrameClientError),
    Legacy(io::Error),
    File(io::Error),
    /// The session could not begin: the system gave this process no pipe or no runtime.
    System(io::Error),
}

impl fmt::Display for SessionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotRunning => "there is no identity file",
            Self::IdentityFile(_) => "the identity file cannot be read",
            Self::Handle(_) => "the daemon is not proven",
            Self::Request(_) => "a request has no answer",
            Self::Legacy(_) => "the legacy wire failed",
            Self::File(_) => "the answer file cannot be read",
            Self::System(_) => "the session cannot begin",
        })
    }
}

impl Error for SessionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotRunning => None,
            Self::Handle(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::IdentityFile(error) | Self::Legacy(error) | Self::File(error) | Self::System(error) => {
                Some(error)
            }
        }
    }
}

impl From<BackendHandleError> for SessionError {
    fn from(error: BackendHandleError) -> Self {
        Self::Handle(error)
    }
}

impl From<FrameClientError> for SessionError {
    fn from(error: FrameClientError) -> Self {
        Self::Request(error)
    }
}

/// A session that can be run any number of times.
#[derive(Clone, Debug)]
pub struct Session {
    /// The identity file of the daemon.
    pub identity_file: PathBuf,
    /// The time for all of it.
    pub timeout: Duration,
}

impl Session {
    /// Runs the session over a driver.
    ///
    /// # Errors
    ///
    /// The first error ends it.
    ///
    /// # Panics
    ///
    /// An answer is wrong.
    pub fn run(&self, driver: Driver) -> Result<(), SessionError> {
        let deadline = Instant::now() + self.timeout;
        let daemon = try_read_daemon_identity_file(&self.identity_file)
            .map_err(SessionError::IdentityFile)?
            .ok_or(SessionError::NotRunning)?;
        match driver {
            Driver::Blocking => blocking(&daemon, deadline),
            Driver::Tokio => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(SessionError::System)?.block_on(asynchronous(&daemon, deadline))
            }
        }
    }
}

fn blocking(daemon: &DaemonProcess, deadline: Instant) -> Result<(), SessionError> {
    let handle = BackendHandle::probe_deadline("walk", "1", &daemon.ipc_endpoint, daemon, deadline)?;
    let legacy = handle.connect_deadline(deadline)?;
    let mut client = handle.into_client();
    let options = RequestOptions::new().with_deadline(deadline);
    for request in requests() {
        let response = client.request_with(SHOUT, request.clone(), &options)?;
        assert_answer(&request, &response.payload);
    }
    let (reader, payload) = passed_pipe()?;
    let response = client.request_with(SHOUT, payload, &options)?;
    assert_written(reader, &response.payload, deadline)?;
    let reply = client.request_reply(SHOUT, FILE.to_vec(), &options)?;
    assert!(reply.is_file());
    assert_eq!(reply.into_bytes().map_err(SessionError::File)?, FILE_CONTENT);
    exchange_legacy(&legacy, deadline).map_err(SessionError::Legacy)
}

async fn asynchronous(daemon: &DaemonProcess, deadline: Instant) -> Result<(), SessionError> {
    let endpoint = &daemon.ipc_endpoint;
    let handle = BackendHandle::probe_deadline_async("walk", "1", endpoint, daemon, deadline).await?;
    let second = AsyncFrameClient::from_stream(handle.connect_deadline_async(deadline).await?)?;
    let client = handle.into_async_client()?;
    let options = RequestOptions::new().with_deadline(deadline);
    for (request, client) in requests().into_iter().zip([&client, &second].into_iter().cycle()) {
        let response = client.request_with(SHOUT, request.clone(), &options).await?;
        assert_answer(&request, &response.payload);
    }
    let (reader, payload) = passed_pipe()?;
    let response = client.request_with(SHOUT, payload, &options).await?;
    assert_written(reader, &response.payload, deadline)?;
    let reply = second.request_reply(SHOUT, FILE.to_vec(), &options).await?;
    assert!(reply.is_file());
    assert_eq!(reply.into_bytes().map_err(SessionError::File)?, FILE_CONTENT);
    Ok(())
}

/// Returns the requests whose answer is a frame with bytes.
fn requests() -> [Vec<u8>; 4] {
    [b"hello".to_vec(), vec![b'x'; LARGE_BYTES], SLOW.to_vec(), FILE.to_vec()]
}

fn assert_answer(request: &[u8], answer: &[u8]) {
    if request == FILE {
        assert_eq!(answer, FILE_CONTENT);
    } else {
        // The large one would fill the report.
        assert!(answer == request.to_ascii_uppercase(), "{} bytes for {}", answer.len(), request.len());
    }
}

/// Returns a request that passes the write end of a pipe, and the other end.
fn passed_pipe() -> Result<(PipeReader, Payload), SessionError> {
    let (reader, writer) = pipe().map_err(SessionError::System)?;
    Ok((reader, Payload::from(WRITE).with_descriptors([writer.into()])))
}

/// Checks that the daemon wrote into the pipe, and closed it.
fn assert_written(mut reader: PipeReader, answer: &[u8], deadline: Instant) -> Result<(), SessionError> {
    assert_eq!(answer, WRITTEN);
    let mut written = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|error| SessionError::System(io::Error::other(error)))?;
        match poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(SessionError::File(io::ErrorKind::TimedOut.into())),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(SessionError::File(error.into())),
        }
        let mut bytes = [0; 64];
        match reader.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => written.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SessionError::File(error)),
        }
    }
    assert_eq!(written, WRITTEN);
    Ok(())
}

/// Exchanges one message of the legacy wire.
fn exchange_legacy(stream: &LocalStream, deadline: Instant) -> io::Result<()> {
    struct Until<'a>(&'a LocalStream, Instant);
    impl Read for Until<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read_deadline(buffer, Some(self.1))
        }
    }
    stream.write_all_deadline(&message(b"old"), Some(deadline))?;
    let answer = read_message(&mut Until(stream, deadline))?.ok_or(io::ErrorKind::UnexpectedEof)?;
    assert_eq!(answer, b"OLD");
    Ok(())
}
