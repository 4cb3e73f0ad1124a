//! The command of a program under test, and what it is told.

use crate::failure::Failure;
use running_process::broker::backend_sdk::OnTermination;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// The variables that tell the program its places and the payload protocol.
const SOCKET_VARIABLE: &str = "RUNNING_PROCESS_CONFORM_SOCKET";
const IDENTITY_VARIABLE: &str = "RUNNING_PROCESS_CONFORM_IDENTITY";
const PROTOCOL_VARIABLE: &str = "RUNNING_PROCESS_CONFORM_PROTOCOL";

/// The places and the payload protocol that a program under test is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    pub(super) socket: &'a Path,
    pub(super) identity_file: &'a Path,
    pub(super) protocol: u64,
}

/// Returns the command of `words`, which is not empty, with the places in its arguments and in its environment.
pub(super) fn prepared(words: &[OsString], places: &Places<'_>) -> Command {
    let Places { socket, identity_file, protocol } = places;
    let protocol = format!("0x{protocol:04X}");
    let replaced = |word: &OsString| {
        let word = replace(word.as_bytes(), b"{socket}", socket.as_os_str());
        let word = replace(&word, b"{identity}", identity_file.as_os_str());
        OsString::from_vec(replace(&word, b"{protocol}", protocol.as_ref()))
    };
    let words: Vec<OsString> = words.iter().map(replaced).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
        .env(SOCKET_VARIABLE, socket)
        .env(IDENTITY_VARIABLE, identity_file)
        .env(PROTOCOL_VARIABLE, &protocol);
    command
}

/// Starts the program of `words` with `command`, which is [`prepared`] for it.
pub(super) fn spawned(command: &mut Command, words: &[OsString]) -> Result<Child, Failure> {
    command.spawn().map_err(|error| {
        let program = Path::new(&words[0]);
        let hint = match error.kind() {
            io::ErrorKind::NotFound if program.components().count() > 1 => {
                "check the path, and for a script the interpreter in its first line"
            }
            io::ErrorKind::NotFound => "give its path, or put its directory into PATH",
            io::ErrorKind::PermissionDenied => "name a program file that you may execute",
            _ => "run the program by itself to see whether it starts",
        };
        Failure::undecided(error)
            .kind("no_program")
            .context(format!("{} cannot be run", program.display()))
            .hint(hint)
    })
}

fn replace(word: &[u8], name: &[u8], value: &OsStr) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.windows(name.len()).position(|part| part == name) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(value.as_bytes());
        rest = &rest[at + name.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// Sets `interrupted` when a signal asks this process to end. Returns `None` where this system has no signals to wait for.
pub(super) fn signals(interrupted: &Arc<AtomicBool>) -> Result<Option<OnTermination>, Failure> {
    let flag = Arc::clone(interrupted);
    match OnTermination::new(move || flag.store(true, Ordering::Relaxed)) {
        Ok(signals) => Ok(Some(signals)),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(Failure::from(error).context("signals cannot be handled")),
    }
}

/// Makes a private directory with a short path, because a socket's path is short.
pub(super) fn private_directory() -> Result<TempDir, Failure> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("rp-conform-").permissions(std::fs::Permissions::from_mode(0o700));
    builder.tempdir_in("/tmp").map_err(|error| {
        Failure::from(error).context("no private directory can be created").hint("make /tmp writable")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_in_an_argument_is_replaced() {
        let value = OsStr::new("/tmp/s");
        assert_eq!(replace(b"--at={socket}:{socket}", b"{socket}", value), b"--at=/tmp/s:/tmp/s");
        assert_eq!(replace(b"{socke}", b"{socket}", value), b"{socke}");
    }
}
