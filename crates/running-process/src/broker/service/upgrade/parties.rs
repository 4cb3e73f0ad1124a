//! The two sides of a decision, as the files of a service and the file system tell them.

use super::candidate::Candidate;
use super::decision::Decision;
use super::record::ReplacementRecord;
use super::release::{Named, Release};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::service::definition::{Service, find_program, is_program};
use crate::broker::service::history::History;
use crate::broker::service::paths::{ServicePaths, short_hash};
use crate::broker::service::place_error::PlaceError;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

impl Service {
    /// Returns what [`ensure`](Self::ensure) does about `running`, the identity of the daemon that it found, and changes nothing. The
    /// decision is printed as a sentence.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory).
    pub fn decide(&self, running: &DaemonProcess) -> Result<Decision, PlaceError> {
        Ok(self.upgrade(&ServicePaths::of(self)?, running).decision)
    }

    /// Returns whether the client may want another daemon, by the versions alone: no file is read, and nothing is allocated.
    pub(in crate::broker::service) fn wants_other(&self, running: &DaemonProcess) -> bool {
        let wanted = Named::wanted(&self.version, &self.build);
        self.upgrade_policy.wish(Named::running(running), wanted).is_ok()
    }

    /// Decides about the daemon `running`, by the files of the service.
    pub(in crate::broker::service) fn upgrade(
        &self,
        paths: &ServicePaths,
        running: &DaemonProcess,
    ) -> Upgrade {
        let mut wanted = Candidate::new(Release::new(&self.version, &self.build));
        let mut daemon = Candidate::new(Release::of(running)).program(&running.exe_path);
        let history = History::read(paths);
        if let Some(program) = self.program().filter(|program| is_program(program)) {
            if is_started_from(&program, running, &history, paths) {
                daemon.program = Some(program.clone());
            }
            wanted.mark = self.mark(&program);
            wanted.program = Some(program);
        }
        let decision = self.upgrade_policy.decide(&daemon, &wanted, &history.replacements, SystemTime::now());
        Upgrade { decision, mark: wanted.mark }
    }

    /// Returns what identifies the command whose program is `program`, and the file there, following links; `None` if that cannot be
    /// examined. The files that arguments name are not examined: a daemon may change them all the time.
    fn mark(&self, program: &Path) -> Option<String> {
        let found = program.metadata().ok()?;
        let (length, changed) = (found.len().to_le_bytes(), changed(&found)?.to_le_bytes());
        let mut parts = vec![program.as_os_str().as_encoded_bytes(), &length, &changed];
        let arguments = self.command.iter().flat_map(|(_, arguments)| arguments);
        parts.extend(arguments.map(|argument| argument.as_encoded_bytes()));
        Some(short_hash(&parts))
    }

    /// Returns the program that a client starts, as the service names it; `None` if there is none, or it is not found.
    pub(in crate::broker::service) fn program(&self) -> Option<PathBuf> {
        self.command.as_ref().and_then(|(program, _)| find_program(program))
    }
}

/// A decision, with what is recorded of it.
pub(in crate::broker::service) struct Upgrade {
    pub(in crate::broker::service) decision: Decision,
    mark: Option<String>,
}

impl Upgrade {
    pub(in crate::broker::service) fn is_replacement(&self) -> bool {
        matches!(self.decision, Decision::Replace { .. })
    }

    /// Records the replacement that was decided. `successor` is the daemon that serves since; `None` if the replacement failed. The
    /// caller holds the lock `replacing`.
    pub(in crate::broker::service) fn record(self, paths: &ServicePaths, successor: Option<&DaemonProcess>) {
        let Decision::Replace { running, wanted, .. } = self.decision else { return };
        let to = successor.map(Release::of);
        let record = ReplacementRecord::new(SystemTime::now(), running, wanted, to).mark(self.mark);
        let mut history = History::read(paths);
        history.replaced(record);
        // Without it the replacement is not counted.
        let _best_effort = history.write(paths);
    }
}

/// Returns whether the daemon `running` was started from `program`, whatever file is there by now.
///
/// The path of the image tells, as the daemon has recorded it and as it is today. Where `program` is a link to another file than then,
/// a script, or copied before it is run, the path tells that the client which started the daemon has recorded: as its service named
/// it.
fn is_started_from(program: &Path, running: &DaemonProcess, history: &History, paths: &ServicePaths) -> bool {
    let start = running.origin.as_ref().map(|origin| (running.pid, origin.start_time));
    let recorded = history.program.as_ref().filter(|_| start.is_some() && history.process == start);
    let image = undeleted(&running.exe_path);
    is_same_path(&image, program)
        || match recorded {
            Some(recorded) => is_same_path(Path::new(recorded), program),
            None => is_copy(&image, program, &paths.copies()),
        }
}

fn is_same_path(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    let (real, other_real) = (canonical(one), canonical(other));
    one == other
        || real.as_deref() == Some(other)
        || other_real.as_deref() == Some(one)
        || real.is_some() && real == other_real
}

/// Returns the path of an image without the mark of Linux for a file that is not there any more.
fn undeleted(image: &Path) -> PathBuf {
    let name = image.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    name.map_or_else(|| image.to_owned(), PathBuf::from)
}

/// Returns whether `image` is a private copy of `program` in the directory `copies`.
fn is_copy(image: &Path, program: &Path, copies: &Path) -> bool {
    let is_inside = |copies: &Path| image.starts_with(copies);
    image.file_name() == program.file_name()
        && (is_inside(copies) || copies.canonicalize().is_ok_and(|copies| is_inside(&copies)))
}

/// Returns the time of the last change of a file: of its content, or of its name, which an upgrade changes.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "as on the other systems")]
fn changed(found: &Metadata) -> Option<i128> {
    use std::os::unix::fs::MetadataExt;
    Some(i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec()))
}

/// Returns the time of the last change of a file's content.
#[cfg(not(unix))]
fn changed(found: &Metadata) -> Option<i128> {
    let since = found.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    since.as_nanos().try_into().ok()
}

#[cfg(test)]
mod tests;
