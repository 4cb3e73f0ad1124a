//! The service server of the wheel.

use super::*;
use crate::support::Running;
use running_process::broker::backend_sdk::{FrameClient, FrameClientError};

/// The payload protocol of the service.
const SERVED: u32 = 0x7A63;

struct Service {
    process: Running,
    file: PathBuf,
    identity: DaemonProcess,
}

impl Service {
    #[track_caller]
    fn start(field: &Field) -> Self {
        fs::create_dir(field.path("run")).unwrap();
        let mut process = Running::spawn(field.script("service.py").arg(field.path("run")));
        let file = PathBuf::from(process.line(|line| line.ends_with(".json")));
        let identity = try_read_daemon_identity_file(&file).unwrap().unwrap();
        Self { process, file, identity }
    }
}

#[test]
fn a_service_server_of_the_wheel_is_proven_and_serves() {
    let Some(field) = Field::installed() else { return };
    let service = Service::start(&field);
    let Service { identity: daemon, file, .. } = &service;
    assert_zeros_in(file);
    let mut client = assert_proven(daemon, file).into_client();
    assert_eq!(client.request(SERVED, b"ping".to_vec()).unwrap().payload, b"pong:ping");
    let large = vec![7; 3 << 20];
    let echo = client.request(SERVED, large.clone()).unwrap().payload;
    assert!(echo.strip_prefix(b"pong:") == Some(&large[..]), "{} bytes", echo.len());
    assert_altered_is_refused(daemon);
    field.assert_listed(daemon);
    field.assert_known(daemon, file);
    let handle = assert_proven(daemon, file);
    // It knows no signal of its own, so it ends at once and leaves its identity file.
    handle.shutdown(DEADLINE).unwrap();
    assert_ended(&handle, file);
}

/// The server answers nothing if its handler does not, and ends the connection of a protocol that it does not serve.
#[test]
fn what_a_service_server_of_the_wheel_leaves_unanswered_costs_a_client_of_ours_that_request() {
    let Some(field) = Field::installed() else { return };
    let mut service = Service::start(&field);
    let mut client = assert_proven(&service.identity, &service.file).into_client();
    for unanswered in ["raise", "too large"] {
        let deadline = Instant::now() + Duration::from_secs(2);
        let error = client.request_deadline(SERVED, unanswered, deadline).unwrap_err();
        assert!(
            matches!(error, FrameClientError::TimedOut { .. }) && error.may_have_run(),
            "{unanswered}: {error:?}"
        );
        assert_eq!(client.request(SERVED, b"ping".to_vec()).unwrap().payload, b"pong:ping");
    }
    let error = client.request(SERVED + 1, b"ping".to_vec()).unwrap_err();
    assert!(matches!(error, FrameClientError::Closed), "{error:?}");
    let mut client = FrameClient::connect(&service.identity.ipc_endpoint).unwrap();
    assert_eq!(client.request(SERVED, b"ping".to_vec()).unwrap().payload, b"pong:ping");

    service.process.write_line("close");
    service.process.line(|line| line == "closed");
    assert!(!service.file.exists(), "the server removes its identity file");
    client.request(SERVED, b"ping".to_vec()).unwrap_err();
    assert!(service.process.end_with_input().success);
}
