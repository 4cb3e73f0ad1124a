//! The socket and the identity file of a server, and files that it leaves alone.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{SHOUT, TempEndpoint, eventually, in_child_process, join, test_command, test_name, watched};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::{IdentityFileError, ServerError, read_daemon_identity_file};
use running_process::broker::protocol::Endpoint;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn relative_paths_mean_the_same_for_every_client_and_after_a_change_of_directory() {
    let temp = TempEndpoint::new();
    in_child_process(test_name!("by_relative_paths"), |command| {
        command.current_dir(&temp.directory);
    });
    let left = || std::fs::read_dir(&temp.directory).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left().collect::<Vec<_>>(), ["s.lock"]);
}

#[test]
#[ignore = "run by the test above in a process of its own"]
fn by_relative_paths() {
    let directory = std::env::current_dir().unwrap();
    let server = TestServer::bind(Endpoint::unix_socket("test", "s").unwrap()).unwrap().identity_file("r.json");
    let server = server.serve_quickly(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()));
    std::env::set_current_dir("/").unwrap();
    let stop = server.stop_handle();
    let run = std::thread::spawn(move || server.run());
    let daemon = eventually(|| read_daemon_identity_file(&directory.join("r.json")));
    assert_eq!(daemon.ipc_endpoint.path, directory.join("s").to_str().unwrap());
    BackendHandle::probe_with_service("test", "1", &daemon.ipc_endpoint, &daemon).unwrap();
    stop.stop();
    join(run).unwrap();
}

/// Returns the error of a server that cannot write its identity file at `path`.
#[track_caller]
fn refused(temp: &TempEndpoint, path: &Path) -> IdentityFileError {
    let server = TestServer::bind(temp.endpoint.clone()).unwrap().identity_file(path);
    let error = watched(move || server.run().unwrap_err());
    let ServerError::IdentityFile { path: told, source } = error else { panic!("{error:?}") };
    assert_eq!(told, path);
    // The endpoint is free again.
    assert!(!Path::new(&temp.endpoint.path).exists());
    *source.into_inner().unwrap().downcast().unwrap()
}

#[test]
fn a_file_that_is_no_identity_file_is_left_alone_and_the_server_does_not_run() {
    let temp = TempEndpoint::new();
    let path = |name: &str| temp.directory.path().join(name);
    std::fs::write(path("notes"), "precious").unwrap();
    assert!(matches!(refused(&temp, &path("notes")), IdentityFileError::Malformed(_)));
    symlink(path("notes"), path("link")).unwrap();
    assert!(matches!(refused(&temp, &path("link")), IdentityFileError::NotARegularFile));
    assert_eq!(std::fs::read_to_string(path("link")).unwrap(), "precious");
    assert!(matches!(refused(&temp, temp.directory.path()), IdentityFileError::NotARegularFile));
    assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    assert!(matches!(refused(&temp, &path("fifo")), IdentityFileError::NotARegularFile));
    for own in ["s", "s.lock"] {
        assert!(matches!(refused(&temp, &path(own)), IdentityFileError::EndpointItself));
    }
}

#[test]
fn a_server_that_no_client_would_accept_does_not_run() {
    let temp = TempEndpoint::new();
    let shared = temp.directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o775)).unwrap();
    let refused = refused(&temp, &shared.join("identity.json"));
    assert!(matches!(refused, IdentityFileError::DirectoryWritableByOthers { mode: 0o775 }), "{refused}");
    assert!(refused.to_string().contains("make it 700"), "{refused}");
}

#[test]
fn the_identity_file_of_a_server_that_runs_is_its_own() {
    let older = TestServer::start(|server| server);
    let identity = older.daemon();
    let temp = TempEndpoint::new();
    let in_use = refused(&temp, &older.temp.identity_file());
    let expected = std::process::id();
    assert!(matches!(in_use, IdentityFileError::InUse { pid, .. } if pid == expected), "{in_use}");
    assert_eq!(older.daemon(), identity, "it can still be found");
    drop(older.handle());
}

#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
#[test]
fn a_server_reports_that_its_socket_is_gone() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("removed", |socket| std::fs::remove_file(socket).unwrap()),
        ("moved", |socket| std::fs::rename(socket, socket.with_extension("aside")).unwrap()),
        ("replaced", |socket| {
            let other = socket.with_extension("other");
            std::fs::write(&other, "").unwrap();
            std::fs::rename(other, socket).unwrap();
        }),
        ("its directory moved", |socket| {
            let directory = socket.parent().unwrap();
            std::fs::rename(directory, directory.with_extension("moved")).unwrap();
        }),
    ];
    for (what, happens) in changes {
        let mut server = TestServer::start(|server| server);
        let mut client = server.client();
        let socket = server.temp.endpoint.path.clone();
        happens(Path::new(&socket));
        let told = server.error();
        assert!(told.contains(&format!("the socket {socket:?} was removed or replaced")), "{what}: {told}");
        assert_eq!(client.request(SHOUT, b"still".to_vec()).unwrap().payload, b"STILL", "{what}");
        server.stop_and_join().unwrap();
        assert!(!server.has_more_errors(), "{what}: it is reported once");
        let moved = server.temp.directory.path().with_extension("moved");
        if moved.exists() {
            assert!(!moved.join("s").exists(), "the socket is still its own");
            std::fs::remove_dir_all(moved).unwrap();
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn changes_of_other_files_are_not_reported() {
    let mut server = TestServer::start(|server| server);
    std::fs::write(server.temp.directory.path().join("other"), "").unwrap();
    // A change of the socket's mode is reported, and has no effect.
    std::fs::set_permissions(&server.temp.endpoint.path, PermissionsExt::from_mode(0o600)).unwrap();
    server.assert_serves();
    server.stop_and_join().unwrap();
    assert!(!server.has_more_errors());
}

/// A user namespace has limits of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_server_whose_socket_cannot_be_watched_says_so() {
    let script = r#"echo 0 >/proc/sys/user/max_inotify_instances || exit 77; exec "$0" "$@""#;
    let test = test_command(test_name!("without_watches"));
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(test.get_program()).args(test.get_args());
    match command.output() {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
        }
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
            panic!("{}", String::from_utf8_lossy(&output.stderr));
        }
        skipped => eprintln!("skipped: no user namespace: {skipped:?}"),
    }
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by the test above in a process of its own"]
fn without_watches() {
    let mut server = TestServer::start(|server| server);
    let told = server.error();
    assert!(told.contains(r#"s" is not watched, so this daemon does not notice if it is removed: "#), "{told}");
    server.assert_serves();
    server.stop_and_join().unwrap();
    assert!(!server.has_more_errors());
}
