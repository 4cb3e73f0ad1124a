//! Reaching a daemon at all.

use crate::frame_client::peer::Client;
#[cfg(feature = "tokio")]
use crate::frame_client::peer::OnTokio;
use crate::support::{TempEndpoint, in_child_process, join};
use running_process::broker::backend_handle::{BackendHandle, BackendHandleError};
use running_process::broker::backend_lifecycle::DISABLE_VARIABLE;
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_sdk::{ConnectError, FrameClient, FrameClientError, NameError};
use running_process::broker::protocol::Endpoint;
use std::os::unix::net::UnixListener;

fn connect_error<C: Client>(endpoint: &Endpoint) -> ConnectError {
    match C::connect(endpoint) {
        Err(FrameClientError::Connect(error)) => error,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("connected"),
    }
}

#[test]
fn connecting_says_what_is_wrong_with_the_endpoint() {
    what_is_wrong_with_the_endpoint::<FrameClient>();
    #[cfg(feature = "tokio")]
    what_is_wrong_with_the_endpoint::<OnTokio>();
}

fn what_is_wrong_with_the_endpoint<C: Client>() {
    let temp = TempEndpoint::new();
    let path = &temp.endpoint.path;
    assert!(matches!(connect_error::<C>(&temp.endpoint), ConnectError::NotFound { .. }));

    std::fs::write(path, "not a socket").unwrap();
    assert!(matches!(connect_error::<C>(&temp.endpoint), ConnectError::NotASocket { .. }));
    std::fs::remove_file(path).unwrap();

    drop(UnixListener::bind(path).unwrap());
    assert!(matches!(connect_error::<C>(&temp.endpoint), ConnectError::Refused { .. }));

    let long = Endpoint::unix_socket("test", format!("/{}", "x".repeat(200))).unwrap();
    assert!(matches!(connect_error::<C>(&long), ConnectError::Name(NameError::TooLong { length: 201, .. })));
}

/// The other systems say that such a connection was refused.
#[cfg(target_os = "linux")]
#[test]
fn connecting_to_a_daemon_that_does_not_accept_fails_at_once() {
    a_full_backlog::<FrameClient>();
    #[cfg(feature = "tokio")]
    a_full_backlog::<OnTokio>();
}

#[cfg(target_os = "linux")]
fn a_full_backlog<C: Client>() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let temp = TempEndpoint::new();
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&temp.endpoint.path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let endpoint = temp.endpoint.clone();
    let (waiting, error) = crate::support::watched(move || {
        let mut waiting = Vec::new();
        loop {
            match C::connect(&endpoint) {
                Ok(client) => waiting.push(client),
                Err(error) => break (waiting, error),
            }
            assert!(waiting.len() < 16, "the backlog never fills");
        }
    });
    assert!(!waiting.is_empty());
    assert!(matches!(error, FrameClientError::Connect(ConnectError::BacklogFull { .. })), "{error:?}");
}

#[test]
fn the_environment_can_switch_frames_and_probes_off() {
    in_child_process("connecting::disabled_by_the_environment", |command| {
        command.env(DISABLE_VARIABLE, "1");
    });
    in_child_process("connecting::not_disabled_by_the_environment", |command| {
        command.env(DISABLE_VARIABLE, "0");
    });
}

#[test]
#[ignore = "needs an environment of its own"]
fn disabled_by_the_environment() {
    let temp = TempEndpoint::new();
    let _listener = UnixListener::bind(&temp.endpoint.path).unwrap();
    assert!(matches!(FrameClient::connect(&temp.endpoint), Err(FrameClientError::Disabled)));
    #[cfg(feature = "tokio")]
    assert!(matches!(OnTokio::connect(&temp.endpoint), Err(FrameClientError::Disabled)));
    let daemon = DaemonProcess::current_process(temp.endpoint.clone(), None).unwrap();
    let probed = BackendHandle::probe_with_service("test", "1", &temp.endpoint, &daemon);
    assert!(matches!(probed, Err(BackendHandleError::Probe(ProbeError::Disabled))));
}

#[test]
#[ignore = "needs an environment of its own"]
fn not_disabled_by_the_environment() {
    let temp = TempEndpoint::new();
    let _listener = UnixListener::bind(&temp.endpoint.path).unwrap();
    assert!(FrameClient::connect(&temp.endpoint).is_ok());
}

/// Published peers do this when they are full.
#[test]
fn a_living_daemon_that_closes_connections_without_a_word_is_not_told_as_gone() {
    let temp = TempEndpoint::new();
    let listener = UnixListener::bind(&temp.endpoint.path).unwrap();
    let daemon = DaemonProcess::current_process(temp.endpoint.clone(), None).unwrap();
    let closing = std::thread::spawn(move || {
        for _ in 0..=usize::from(cfg!(feature = "tokio")) {
            drop(listener.accept().unwrap());
        }
    });
    let closed = |error: BackendHandleError| matches!(error, BackendHandleError::Probe(ProbeError::Closed));
    assert!(closed(BackendHandle::probe_with_service("s", "1", &temp.endpoint, &daemon).unwrap_err()));
    #[cfg(feature = "tokio")]
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let probe = BackendHandle::probe_with_service_async("s", "1", &temp.endpoint, &daemon);
        assert!(closed(runtime.block_on(probe).unwrap_err()));
    }
    join(closing);
}
