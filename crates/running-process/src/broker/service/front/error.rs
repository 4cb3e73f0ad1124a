//! Reasons why a front does not serve.

use super::address::UpstreamAddress;
use crate::broker::backend_sdk::ServerError;
use crate::broker::service::daemon::for_service_error::ForServiceError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// The reason why a front does not serve, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// This process does not get the place of the service.
    #[error(transparent)]
    Place(#[from] ForServiceError),
    /// The program of the fronted daemon is not found.
    #[error("the program {} of the fronted daemon was not found", program.display())]
    NoProgram {
        /// The program in the words of its command.
        program: PathBuf,
    },
    /// The program of the fronted daemon cannot be started.
    #[error("the program {} of the fronted daemon cannot be started", program.display())]
    NotStarted {
        /// The path of the program.
        program: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A process that is not the fronted daemon listens at its address.
    #[error("{} listens at {address}, where the fronted daemon belongs", Stranger(*pid, image.as_deref()))]
    Occupied {
        /// The address.
        address: UpstreamAddress,
        /// The process, if the system tells it.
        pid: Option<u32>,
        /// The program that it runs, if the system tells that.
        image: Option<PathBuf>,
    },
    /// The fronted daemon ended before it listened.
    #[error("the fronted daemon ended before it listened at {address}: {status}")]
    EndedEarly {
        /// The address at which it was to listen.
        address: UpstreamAddress,
        /// Its exit status, or the signal that ended it.
        status: ExitStatus,
    },
    /// The fronted daemon runs and does not listen.
    #[error("the fronted daemon did not listen at {address} within {} s", waited.as_secs())]
    NotReady {
        /// The address at which it was to listen.
        address: UpstreamAddress,
        /// The time for which the front has waited.
        waited: Duration,
    },
    /// The fronted daemon ended while the front served.
    #[error("the fronted daemon, process {pid}, ended: {status}")]
    Ended {
        /// The process id that it had.
        pid: u32,
        /// Its exit status, or the signal that ended it.
        status: ExitStatus,
    },
    /// The system does not tell about the fronted daemon, or does not pass its output on.
    #[error("the fronted daemon cannot be watched")]
    NotWatched(#[source] io::Error),
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A process that is not the expected one, in words.
struct Stranger<'a>(Option<u32>, Option<&'a Path>);

impl fmt::Display for Stranger<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(formatter, "process {pid}")?,
            None => formatter.write_str("another process")?,
        }
        self.1.map_or(Ok(()), |image| write!(formatter, " ({})", image.display()))
    }
}
