//! Daemons of a service whose files are removed while they run.

use crate::support::{SHOUT, chain, eventually, join, next, read_frames, read_to_end, request, soon, write};
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_sdk::{
    ConnectError, LocalStream, ServeError, Server, ServerError, ServerStop, read_daemon_identity_file,
};
use running_process::broker::service::{ForServiceError, Service};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

#[derive(Clone, Copy, Debug)]
enum Driver {
    Blocking,
    #[cfg(feature = "tokio")]
    Tokio,
}

const DRIVERS: &[Driver] = &[
    Driver::Blocking,
    #[cfg(feature = "tokio")]
    Driver::Tokio,
];

/// A daemon of a service on a thread.
struct Daemon {
    root: tempfile::TempDir,
    identity: DaemonProcess,
    errors: Receiver<String>,
    stop: ServerStop,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

/// Returns the service, whose directory is made in `directory`.
fn service(directory: &Path) -> Service {
    Service::new("test").unwrap().below(directory.join("root"))
}

/// Configures a server of any driver; returns it with what the test needs of it.
macro_rules! configure {
    ($server:expr, $handler:expr) => {{
        let (report, errors) = mpsc::channel();
        let server = $server.unwrap().serve(SHOUT, $handler).observe(move |error: &ServeError| {
            // The test may have dropped the receiver.
            let _ = report.send(chain(error));
        });
        (server.stop_handle(), errors, server)
    }};
}

impl Daemon {
    fn start(driver: Driver) -> Self {
        let root = tempfile::tempdir().unwrap();
        let service = service(root.path());
        let (stop, errors, thread) = match driver {
            Driver::Blocking => {
                let server = Server::for_service(&service);
                let (stop, errors, server) =
                    configure!(server, |request| Ok(request.payload().to_ascii_uppercase()));
                (stop, errors, thread::spawn(move || server.run()))
            }
            #[cfg(feature = "tokio")]
            Driver::Tokio => {
                let server = running_process::broker::backend_sdk::AsyncServer::for_service(&service);
                let (stop, errors, server) =
                    configure!(server, |request| async move { Ok(request.payload().to_ascii_uppercase()) });
                let run = move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(server.run())
                };
                (stop, errors, thread::spawn(run))
            }
        };
        let identity = eventually(|| read_daemon_identity_file(&service.identity_file().unwrap()));
        probe_endpoint(&identity.ipc_endpoint, soon()).unwrap();
        Self { root, identity, errors, stop, thread: Some(thread) }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory().join(file)
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("root/test")
    }

    fn connect(&self) -> Result<LocalStream, ConnectError> {
        LocalStream::connect(&self.identity.ipc_endpoint.path)
    }

    /// Checks that clients find this daemon, and that no other process can take its place.
    fn assert_published(&self) {
        let file = self.path("identity.json");
        assert_eq!(eventually(|| read_daemon_identity_file(&file)), self.identity);
        ask(&eventually(|| self.connect().ok()));
        let refused = Server::for_service(&service(self.root.path())).unwrap_err();
        assert!(matches!(refused, ForServiceError::Runs { .. }), "{refused}");
    }

    /// Waits until the observer is told of `text`. What it is told before is about changes on the way.
    fn wait_told(&self, text: &str) {
        while !next(&self.errors).contains(text) {}
    }

    fn join(&mut self) {
        self.end().unwrap();
    }

    fn end(&mut self) -> Result<(), ServerError> {
        join(self.thread.take().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            // A test that fails says why itself.
            let _ = thread.join();
        }
    }
}

fn ask(connection: &LocalStream) {
    write(connection, &request(SHOUT, 1, b"still"));
    assert_eq!(read_frames(connection, 1)[0].payload, b"STILL");
}

const AGAIN: &str = "were removed, and were made again";

#[test]
fn a_socket_that_was_removed_is_bound_again_and_connections_go_on() {
    for &driver in DRIVERS {
        let daemon = Daemon::start(driver);
        let open = daemon.connect().unwrap();
        for _ in 0..3 {
            fs::remove_file(daemon.path("socket")).unwrap();
            daemon.wait_told(AGAIN);
            daemon.assert_published();
            ask(&open);
        }
        let found = fs::symlink_metadata(daemon.path("socket")).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o600);
    }
}

#[test]
fn an_identity_file_that_was_removed_is_written_again() {
    for &driver in DRIVERS {
        let daemon = Daemon::start(driver);
        let socket = fs::symlink_metadata(daemon.path("socket")).unwrap().ino();
        for _ in 0..3 {
            fs::remove_file(daemon.path("identity.json")).unwrap();
            daemon.wait_told(AGAIN);
            daemon.assert_published();
        }
        let now = fs::symlink_metadata(daemon.path("socket")).unwrap().ino();
        assert_eq!(now, socket, "the socket is the same");
    }
}

#[test]
fn a_lock_file_that_was_removed_is_locked_again() {
    for &driver in DRIVERS {
        let daemon = Daemon::start(driver);
        fs::remove_file(daemon.path("lock")).unwrap();
        daemon.wait_told(AGAIN);
        daemon.assert_published();
    }
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    for &driver in DRIVERS {
        let mut daemon = Daemon::start(driver);
        let open = daemon.connect().unwrap();
        for _ in 0..3 {
            // The daemon may make a file while they are removed, so more than one attempt is needed at times.
            eventually(|| fs::remove_dir_all(daemon.directory()).ok());
            daemon.wait_told(AGAIN);
            daemon.assert_published();
            ask(&open);
        }
        assert_eq!(fs::symlink_metadata(daemon.directory()).unwrap().mode() & 0o7777, 0o700);
        daemon.stop.stop();
        daemon.join();
        assert!(!daemon.path("socket").exists() && !daemon.path("identity.json").exists());
        drop(Server::for_service(&service(daemon.root.path())).unwrap());
    }
}

#[test]
fn a_directory_that_was_moved_is_made_again_and_nothing_of_the_daemon_stays_in_the_other() {
    for &driver in DRIVERS {
        let daemon = Daemon::start(driver);
        let aside = daemon.root.path().join("aside");
        fs::rename(daemon.directory(), &aside).unwrap();
        daemon.wait_told(AGAIN);
        daemon.assert_published();
        assert!(!aside.join("socket").exists());
        let lock = fs::File::open(aside.join("lock")).unwrap();
        lock.try_lock().expect("the former lock was released");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_daemon_whose_place_another_one_has_taken_ends() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::os::unix::fs::PermissionsExt;

    for (&driver, mode) in DRIVERS.iter().flat_map(|driver| [(driver, 0o700), (driver, 0o755)]) {
        let mut daemon = Daemon::start(driver);
        let open = daemon.connect().unwrap();
        ask(&open);
        let other = daemon.root.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(mode)).unwrap();
        let lock = fs::File::create(other.join("lock")).unwrap();
        lock.try_lock().unwrap();
        fs::write(other.join("identity.json"), "the other daemon's").unwrap();
        let directory = daemon.directory();
        // At once, as after a removal and a start that this daemon did not notice in between.
        renameat_with(CWD, &directory, CWD, &other, RenameFlags::EXCHANGE).unwrap();
        daemon.wait_told("cannot be made again, so this daemon ends");
        let end = daemon.end();
        let is_unusable = matches!(end, Err(ServerError::NotRepublished { .. }));
        assert!(if mode == 0o700 { end.is_ok() } else { is_unusable }, "{mode:o}: {end:?}");
        assert_eq!(read_to_end(&open), b"", "it drained");
        let names = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["identity.json", "lock"], "the other daemon's files are left alone");
        assert_eq!(fs::read_to_string(directory.join("identity.json")).unwrap(), "the other daemon's");
        drop(lock);
    }
}

#[test]
fn clients_that_connect_while_the_socket_is_removed_again_and_again_are_served_or_refused() {
    for &driver in DRIVERS {
        let daemon = Daemon::start(driver);
        let path = daemon.identity.ipc_endpoint.path.clone();
        let (done, asked) = mpsc::channel();
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let (path, done) = (path.clone(), done.clone());
                thread::spawn(move || {
                    for _ in 0..500 {
                        match LocalStream::connect(&path) {
                            Ok(connection) => ask(&connection),
                            Err(ConnectError::NotFound { .. } | ConnectError::Refused { .. }) => {
                                thread::yield_now();
                            }
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    done.send(()).unwrap();
                })
            })
            .collect();
        let mut removed = 0;
        while asked.recv_timeout(std::time::Duration::from_micros(500)).is_err() {
            removed += u32::from(fs::remove_file(&path).is_ok());
        }
        clients.into_iter().for_each(join);
        println!("{driver:?}: the socket was removed {removed} times");
        assert!(removed > 0);
        daemon.assert_published();
    }
}
