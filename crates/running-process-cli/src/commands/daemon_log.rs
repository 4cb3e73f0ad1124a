//! The messages of a daemon that this command runs.

use crate::failure::{Failure, advice, with_causes};
use crate::json::object_line;
use crate::message_writer::MessageWriter;
use crate::verdict::Verdict;
use crate::wire::counted;
use running_process::broker::backend_sdk::ServeError;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;

/// Longest wait at the end for messages to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs a daemon by `serve`, and prints its failure to its log.
pub(super) fn run(
    json: bool,
    serve: impl FnOnce(&DaemonLog) -> Result<(), Failure>,
) -> Result<Verdict, Failure> {
    let log = DaemonLog::start(json)?;
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| panics.stderr.send(format!("{panic}\n").into_bytes())));
    let verdict = match serve(&log) {
        Ok(()) => Verdict::Yes,
        Err(failure) => {
            log.stderr.send(failure.line(json));
            failure.verdict()
        }
    };
    log.stdout.finish(FLUSH_TIMEOUT);
    log.stderr.finish(FLUSH_TIMEOUT);
    Ok(verdict)
}

/// The daemon's messages on standard output and standard error. No method waits for a reader.
#[derive(Clone)]
pub(super) struct DaemonLog {
    json: bool,
    stdout: MessageWriter,
    stderr: MessageWriter,
}

impl DaemonLog {
    fn start(json: bool) -> io::Result<Self> {
        let notice = if json {
            |messages: u64| object_line(&json!({ "event": "dropped", "messages": messages }))
        } else {
            |messages: u64| {
                format!("{} dropped because the reader is too slow\n", counted(messages, "message"))
                    .into_bytes()
            }
        };
        Ok(Self {
            json,
            stdout: MessageWriter::start(io::stdout(), notice)?,
            stderr: MessageWriter::start(io::stderr(), notice)?,
        })
    }

    /// Tells that clients can find the daemon, as text or as JSON.
    pub(super) fn ready(&self, text: String, object: &Value) {
        self.stdout.send(if self.json { object_line(object) } else { text.into_bytes() });
    }

    /// Tells of the error of a connection.
    pub(super) fn error(&self, error: &ServeError) {
        self.stderr.send(if self.json {
            let kind = advice::error(error);
            object_line(&json!({ "event": "error", "kind": kind, "error": with_causes(error) }))
        } else {
            format!("{}\n", with_causes(error)).into_bytes()
        });
    }
}
