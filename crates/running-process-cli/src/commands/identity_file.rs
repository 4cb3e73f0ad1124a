//! Reads a daemon's identity file.

use crate::failure::Failure;
use crate::failure::advice::{self, Advice};
use crate::text::shell_word;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Time for which another process than the daemon is not told, because a daemon may be handing its endpoint over: then either of
/// both processes answers for some milliseconds.
const DOUBT: Duration = Duration::from_millis(150);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Returns whether there is a socket at `path`.
#[cfg(unix)]
pub(super) fn is_socket(path: &Path) -> bool {
    use std::fs;
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Returns `false`: a pipe is no file.
#[cfg(not(unix))]
pub(super) fn is_socket(_path: &Path) -> bool {
    false
}

/// Reads the identity file at `path`.
pub(super) fn read(path: &Path) -> Result<DaemonProcess, Failure> {
    match try_read_daemon_identity_file(path) {
        Ok(Some(daemon)) => Ok(daemon),
        Ok(None) => {
            let advice = Advice::undecided("no_identity_file")
                .hint("the daemon writes it when it starts: is the daemon running, and is this its path?");
            Err(Failure::new(format!("there is no identity file {}", path.display()), advice))
        }
        Err(error) => {
            if is_socket(path) {
                let hint = format!(
                    "to write its identity to a file, which this command takes: running-process probe {} --write FILE",
                    shell_word(path)
                );
                let advice = Advice::undecided("identity_file_unusable").hint(hint);
                return Err(Failure::new(
                    format!("{} is a socket, and no identity file", path.display()),
                    advice,
                ));
            }
            let advice = advice::identity_file(&error);
            Err(Failure::new(error, advice)
                .context(format!("the identity file {} cannot be used", path.display())))
        }
    }
}

/// Reads the identity file at `path`, and lets `verify` verify its daemon. If that fails and the file names another daemon by then, or
/// another process answers, this reads and verifies again, while `deadline` has not passed. Returns the identity with the last result.
pub(super) fn verified<T, E>(
    path: &Path,
    deadline: Instant,
    verify: impl Fn(&DaemonProcess) -> Result<T, E>,
    cause: impl Fn(&E) -> &ProbeError,
) -> Result<(DaemonProcess, Result<T, E>), Failure> {
    let began = Instant::now();
    let mut daemon = read(path)?;
    loop {
        let verified = verify(&daemon);
        let Err(error) = &verified else { return Ok((daemon, verified)) };
        let is_other = matches!(cause(error), ProbeError::Impostor { .. } | ProbeError::Mismatch(_));
        let in_doubt = is_other && began.elapsed() < DOUBT;
        if in_doubt {
            thread::sleep(PAUSE);
        }
        // A file that is gone or unusable by now says less than the error.
        let now = try_read_daemon_identity_file(path).ok().flatten().unwrap_or_else(|| daemon.clone());
        if Instant::now() >= deadline || (!in_doubt && now == daemon) {
            return Ok((daemon, verified));
        }
        daemon = now;
    }
}
