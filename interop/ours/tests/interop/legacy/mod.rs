//! Clients that know nothing of this library, on the legacy lane of its daemons, beside probes and requests on the same socket.

mod http;
mod lsp;
mod redis;
mod varlink;

use super::support::{Daemon, Program};
use super::{BLAKE3, OURS, SHA256, TOKIO};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `legacy`, and `framed` again and again meanwhile and once more at the end.
#[track_caller]
fn beside<T>(framed: impl Fn() + Send, legacy: impl FnOnce() -> T) -> T {
    /// Ends the other thread also if this one panics.
    struct Done<'a>(&'a AtomicBool);

    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = Done(&done);
        let is_done = done.0;
        scope.spawn(move || {
            let mut is_last = false;
            while !is_last {
                is_last = is_done.load(Ordering::Relaxed);
                framed();
            }
        });
        legacy()
    })
}

/// Runs `legacy` while clients of every version prove the daemon and are served.
#[track_caller]
fn beside_framed_clients<T>(identity_file: &Path, legacy: impl FnOnce() -> T) -> T {
    let clients = [SHA256, BLAKE3, OURS, TOKIO].into_iter().filter(|client| client.is_wanted());
    let clients: Vec<_> = clients.collect();
    beside(move || clients.iter().for_each(|client| client.client(identity_file).assert_served()), legacy)
}

/// Returns a command that is killed at a deadline which only a hang reaches.
fn bounded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "300"]).arg(program).stdin(Stdio::null());
    command
}

/// Runs a client to its end, which is a success, and returns its output.
#[track_caller]
fn output(client: &mut Command) -> String {
    let output = client.output().unwrap();
    assert!(output.status.success(), "{client:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the path of a script of `interop/clients`.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients").join(name)
}
