//! Changes by `--fix`, each of which is shown before it is made.

use crate::failure::{Failure, with_causes};
use crate::output::Output;
use crate::services::Selected;
use crate::text::safe;
use running_process::broker::service::{LeftoverChange, ServiceSocket};
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// The outcome of one part of `--fix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// It was not done, or not to its end, and the reason was printed.
    Failed,
}

/// Ends the process `pid` if it listens at one of `sockets`, to which no path leads.
pub(super) fn end(
    pid: u32,
    sockets: &[ServiceSocket],
    deadline: Instant,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let is_found = |socket: &&ServiceSocket| {
        socket.is_reachable == Some(false) && socket.owners.iter().any(|owner| owner.pid == pid)
    };
    let Some(socket) = sockets.iter().find(is_found) else {
        let reason = format!("process {pid} listens at no socket of a service that clients cannot reach");
        return not_fixed("--end", &reason, output);
    };
    let label = label_of(&socket.path);
    changes(&label, "end", Some(pid), &socket.path, output)?;
    match socket.end_owner(pid, deadline) {
        Ok(_) => Ok(Outcome::Done),
        Err(error) => not_fixed(&label, &with_causes(&error), output),
    }
}

/// Returns the name of the directory that a service's socket is in.
pub(super) fn label_of(socket: &Path) -> String {
    socket.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes the files of a daemon that has ended.
pub(super) fn leftovers(
    selected: &Selected,
    deadline: Instant,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let mut printed = Ok(());
    let mut show = |change: LeftoverChange| {
        let (word, path) = match &change {
            LeftoverChange::Write(path) => ("write", path),
            LeftoverChange::Remove(path) => ("remove", path),
            _ => return,
        };
        if printed.is_ok() {
            printed = changes(&selected.label, word, None, path, output);
        }
    };
    let removed = selected.service.remove_leftovers(deadline, &mut show);
    printed?;
    match removed {
        Ok(true) => Ok(Outcome::Done),
        Ok(false) => not_fixed(&selected.label, "a daemon runs or starts by now", output),
        Err(error) => not_fixed(&selected.label, &with_causes(&error), output),
    }
}

/// Prints a change that is about to be made.
fn changes(
    label: &str,
    word: &str,
    pid: Option<u32>,
    path: &Path,
    output: &mut Output,
) -> Result<(), Failure> {
    let process = pid.map_or_else(String::new, |pid| format!("process {pid}, which listens at "));
    output.line(format_args!("fix {}: {word} {process}{}", safe(label), safe(path.display())))?;
    let path = path.display().to_string();
    output.object(json!({ "event": "change", "service": label, "change": word, "path": path, "pid": pid }))
}

fn not_fixed(label: &str, reason: &str, output: &mut Output) -> Result<Outcome, Failure> {
    output.line(format_args!("not fixed {}: {}", safe(label), safe(reason)))?;
    output.object(json!({ "event": "not_fixed", "service": label, "reason": reason }))?;
    Ok(Outcome::Failed)
}
