//! A service manager: it listens at the socket of a service, and starts the daemon when a client connects and none runs.

use crate::harness::{Bench, PROBE};
use running_process::Service;
use running_process::broker::service::{Activation, ServiceManager};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::write;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// The steps of the protocol: the shell has the pid that the daemon will have.
const PASSING: &str = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&2 2>/dev/null"#;

/// Returns the service of the bench, as a program in this process sees it.
pub(super) fn service(bench: &Bench) -> Service {
    Service::new("svc").unwrap().below(bench.root())
}

/// Notes in the service's directory that a service manager starts its daemon.
pub(super) fn install(bench: &Bench) {
    let unit = "running-process-svc.socket".to_owned();
    let activation = Activation { manager: ServiceManager::Systemd, unit };
    service(bench).record_activation(Some(&activation)).unwrap();
}

/// The variables with which a service manager starts the daemon of the bench.
pub(super) fn variables(bench: &Bench) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("RUNNING_PROCESS_SERVICE", "svc".into()),
        ("RUNNING_PROCESS_SERVICE_ROOT", bench.root()),
        ("XDG_CACHE_HOME", bench.path("cache")),
    ]
}

/// The service manager. Dropping it closes its socket, and leaves the daemon alone.
pub(super) struct Manager {
    pub(super) socket: PathBuf,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    /// Listens for the service of `bench`, as systemd does: what has the name of the socket is removed.
    pub(super) fn listen(bench: &Bench, plan: &str, words: &[(&'static str, &str)]) -> Self {
        install(bench);
        let socket = bench.place().join("socket");
        let listener = loop {
            let _ = std::fs::remove_file(&socket);
            // A daemon that runs may have made its socket again.
            match UnixListener::bind(&socket) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => break bound.unwrap(),
            }
        };
        std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", PASSING, PROBE]).args(bench.daemon_arguments(plan)).env_clear();
        command.envs(variables(bench)).envs(words.iter().copied()).env("PATH", "/usr/bin:/bin");
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let thread = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || manage(&listener, &stop, command))
        };
        Self { socket, stop, thread: Some(thread) }
    }

    /// Returns device and inode of the socket.
    pub(super) fn identity(&self) -> (u64, u64) {
        let found = std::fs::symlink_metadata(&self.socket).unwrap();
        (found.dev(), found.ino())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        write(&*self.stop, &1_u64.to_ne_bytes()).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Starts the daemon whenever a connection waits and no daemon runs.
fn manage(listener: &UnixListener, stop: &OwnedFd, mut command: Command) {
    let mut daemon = None::<std::process::Child>;
    loop {
        let end = daemon.as_ref().map(|daemon| {
            let pid = rustix::process::Pid::from_raw(daemon.id().cast_signed()).unwrap();
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap()
        });
        let mut ready = [
            PollFd::new(stop, PollFlags::IN),
            end.as_ref()
                .map_or_else(|| PollFd::new(listener, PollFlags::IN), |end| PollFd::new(end, PollFlags::IN)),
        ];
        poll(&mut ready, None).unwrap();
        if !ready[0].revents().is_empty() {
            // The bench ends the daemon.
            return;
        }
        if let Some(mut ended) = daemon.take() {
            ended.wait().unwrap();
        } else {
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
            daemon = Some(command.spawn().unwrap());
        }
    }
}
