//! The build tool soldr.

use super::*;

/// This daemon writes no identity file: its broker learns the identities from the answers.
#[test]
fn each_endpoint_of_soldr_is_proven_with_the_namespace_that_it_answers_until_its_client_stops_it() {
    let Some(field) = Field::installed() else { return };
    field.run("soldr", &["daemon", "start"]);
    let endpoints = [".control.sock", ".session.sock"].map(|ending| field.ask(&field.file(ending)));
    let [control, session] = &endpoints;
    assert!(control.ipc_endpoint.namespace_id.starts_with("mnt:["), "{control:?}");
    assert_eq!(Path::new(&session.ipc_endpoint.namespace_id), session.exe_path);
    assert_eq!(control.pid, session.pid);
    for (number, daemon) in endpoints.iter().enumerate() {
        // A file of a daemon that runs is not taken for another endpoint.
        let file = field.path(&format!("identity-{number}.json"));
        write_daemon_identity_file(&file, daemon).unwrap();
        assert_proven(&try_read_daemon_identity_file(&file).unwrap().unwrap(), &file);
        assert_altered_is_refused(daemon);
        field.assert_listed(daemon);
    }
    // The identity of one endpoint is not that of the other.
    let mut mixed = control.clone();
    mixed.ipc_endpoint.path.clone_from(&session.ipc_endpoint.path);
    assert!(BackendHandle::verify(&mixed, Policy::lenient(), Instant::now() + DEADLINE).is_err());
    // Its own client is served by the same process, and stops it.
    let status = field.run("soldr", &["daemon", "status"]);
    assert!(status.contains(&format!("pid={} ", control.pid)), "{status}");
    let file = field.path("identity-0.json");
    let handle = assert_proven(control, &file);
    field.run("soldr", &["daemon", "stop"]);
    assert_ends(&handle);
    assert_ended(&handle, &file);
}
