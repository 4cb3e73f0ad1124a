//! Where a server can be found, and what it does not take for that.

use super::Running;
use crate::support::{Place, SHOUT, eventually, in_child_process, join};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::read_daemon_identity_file;
use running_process::broker::protocol::Endpoint;

/// The name of an ignored test of this module, for a process of its own.
macro_rules! own {
    ($test:literal) => {
        concat!(module_path!(), "::", $test).split_once("::").unwrap().1
    };
}

#[test]
fn relative_paths_mean_the_same_for_every_client_and_after_a_change_of_directory() {
    let place = Place::new();
    in_child_process(own!("by_relative_paths"), |command| {
        command.current_dir(&place.directory);
    });
    let left = || std::fs::read_dir(&place.directory).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left().collect::<Vec<_>>(), ["s.lock"]);
}

#[test]
#[ignore = "started by the test above in a process of its own"]
fn by_relative_paths() {
    let directory = std::env::current_dir().unwrap();
    let server = Running::bind(Endpoint::unix_socket("test", "s").unwrap()).unwrap().record("r.json");
    let server = server.serve(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()));
    std::env::set_current_dir("/").unwrap();
    let stop = server.stop_handle();
    let run = std::thread::spawn(move || server.run());
    let daemon = eventually(|| read_daemon_identity_file(&directory.join("r.json")));
    assert_eq!(daemon.ipc_endpoint.path, directory.join("s").to_str().unwrap());
    BackendHandle::probe_with_service("test", "1", &daemon.ipc_endpoint, &daemon).unwrap();
    stop.stop();
    join(run).unwrap();
}
