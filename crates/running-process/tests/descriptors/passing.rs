//! Descriptors between this library's own clients and servers.

use super::client::Client;
use super::daemon::{Daemon, Driver, INLINE, SERVED};
use super::{assert_open, cases, content, contents, descriptor, open_descriptors};
use running_process::broker::backend_sdk::{FrameClientError, Payload, Reply, RequestOptions, ServerConfig};
use running_process::broker::protocol::RefusalReason;
use rustix::io::{FdFlags, fcntl_getfd};

cases! {
    a_request_carries_descriptors_and_so_does_its_answer
    an_inline_handler_borrows_the_descriptors_of_its_request
    an_event_carries_descriptors_and_the_response_none
    a_caller_that_wants_a_frame_gets_no_descriptors
    a_client_takes_as_many_as_it_says_and_the_server_too
    large_payloads_have_descriptors_as_small_ones_do
    a_server_that_takes_none_is_sent_none
    many_requests_with_descriptors_wait_for_each_other
}

/// Runs the tests for the event loop of the example.
macro_rules! cases_of_own_event_loop {
    ($($case:ident)*) => {
        mod own_event_loop_and_blocking_client {
            $(#[test] fn $case() {
                let _alone = crate::alone();
                super::$case::<crate::own_event_loop::OwnEventLoop, running_process::FrameClient>();
            })*
        }
    };
}

cases_of_own_event_loop! {
    a_request_carries_descriptors_and_so_does_its_answer
    an_inline_handler_borrows_the_descriptors_of_its_request
    an_event_carries_descriptors_and_the_response_none
    a_client_takes_as_many_as_it_says_and_the_server_too
    large_payloads_have_descriptors_as_small_ones_do
    many_requests_with_descriptors_wait_for_each_other
}

fn three() -> [std::os::fd::OwnedFd; 3] {
    [b"one", b"two", b"333"].map(|content| descriptor(content))
}

fn a_request_carries_descriptors_and_so_does_its_answer<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let mut client = C::connect(&daemon.endpoint);
    assert_eq!(client.ask("read", three()).unwrap().payload(), b"onetwo333");
    let mut reply = client.ask("echo back", three()).unwrap();
    assert_eq!((reply.payload(), reply.is_file()), (&b"back"[..], false));
    assert_eq!(contents(reply.descriptors()), [b"one", b"two", b"333"]);
    let taken = reply.take_descriptors();
    assert!(taken.iter().all(|descriptor| fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC)));
    assert_eq!((taken.len(), reply.descriptors().len()), (3, 0));
    assert_eq!(client.ask("echo", []).unwrap().descriptors().len(), 0);
    assert_eq!(client.request(SERVED, "close".into()).unwrap().payload, b"0");
}

fn an_inline_handler_borrows_the_descriptors_of_its_request<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let mut client = C::connect(&daemon.endpoint);
    daemon.wait_for_connections(1);
    let before = open_descriptors();
    let payload = || Payload::from("echo").with_descriptors(three());
    let reply = client.request_reply(INLINE, payload(), &RequestOptions::new()).unwrap();
    assert_eq!(contents(reply.descriptors()), [b"one", b"two", b"333"]);
    drop(reply);
    assert_open(before);
}

fn an_event_carries_descriptors_and_the_response_none<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let mut client = C::connect(&daemon.endpoint);
    let payload = Payload::from("event with").with_descriptors(three());
    let (events, response) = client.stream(payload, &RequestOptions::new().with_max_descriptors(3)).unwrap();
    assert_eq!(events.iter().map(Reply::payload).collect::<Vec<_>>(), [&b"with"[..], b"plain"]);
    assert_eq!(contents(events[0].descriptors()), [b"one", b"two", b"333"]);
    assert_eq!((events[1].descriptors().len(), response.descriptors().len()), (0, 0));
    assert_eq!(response.payload(), b"done");
}

fn a_caller_that_wants_a_frame_gets_no_descriptors<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let mut client = C::connect(&daemon.endpoint);
    daemon.wait_for_connections(1);
    let before = open_descriptors();
    assert_eq!(client.request(SERVED, "accepted".into()).unwrap().payload, b"0");
    let refused = client.request(SERVED, "new 2".into()).unwrap_err();
    let FrameClientError::Refused(refusal) = refused else { panic!("{refused}") };
    assert_eq!(refusal.reason(), RefusalReason::HandlerFailed);
    assert_eq!(refusal.message, "the frame has 2 descriptors, the peer takes 0");
    assert!(daemon.error().ends_with("the frame has 2 descriptors, the peer takes 0"));
    // It may take some later.
    assert_eq!(client.ask("new 2", []).unwrap().descriptors().len(), 2);
    // And drop what it is sent.
    assert_eq!(client.ask("new 2", []).unwrap().into_frame().payload, b"");
    assert_open(before);
}

fn a_client_takes_as_many_as_it_says_and_the_server_too<D: Driver, C: Client>() {
    let mut config = ServerConfig::default();
    (config.connection.max_frame_descriptors, config.connection.max_descriptors) = (5, 5);
    let daemon = Daemon::with_config::<D>(config);
    let mut client = C::connect(&daemon.endpoint);
    daemon.wait_for_connections(1);
    let before = open_descriptors();
    let options = RequestOptions::new().with_max_descriptors(7);
    assert_eq!(client.request_reply(SERVED, "accepted".into(), &options).unwrap().payload(), b"7");
    let reply = client.request_reply(SERVED, "new 7".into(), &options).unwrap();
    assert_eq!(contents(reply.descriptors()), (0..7).map(|n| n.to_string().into_bytes()).collect::<Vec<_>>());
    assert!(matches!(
        client.request_reply(SERVED, "new 8".into(), &options),
        Err(FrameClientError::Refused(_))
    ));
    drop(daemon.error());
    let five = || (0..5).map(|_| descriptor(b"x"));
    assert_eq!(client.ask("close", five()).unwrap().payload(), b"5");
    let error = client.ask("close", five().chain(five())).unwrap_err();
    assert!(matches!(error, FrameClientError::DescriptorsNotTaken { count: 10, limit: 5 }), "{error}");
    assert!(!error.may_have_run());
    // The most that the system passes.
    let options = RequestOptions::new().with_max_descriptors(usize::MAX);
    let many = client.request_reply(SERVED, "new 253".into(), &options).unwrap();
    assert_eq!((many.descriptors().len(), content(&many.descriptors()[252])), (253, b"252".to_vec()));
    assert!(client.request_reply(SERVED, "new 254".into(), &options).is_err());
    drop((reply, many));
    assert_open(before);
}

fn large_payloads_have_descriptors_as_small_ones_do<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    let mut client = C::connect(&daemon.endpoint);
    for length in [1, 20_000, 3_000_000, 5, 300_000, 300_000, 16 * 1024] {
        let text = "x".repeat(length);
        let reply = client.ask(&format!("echo {text}"), three()).unwrap();
        assert!(reply.payload() == text.as_bytes(), "{length} bytes");
        assert_eq!(contents(reply.descriptors()), [b"one", b"two", b"333"]);
    }
}

fn a_server_that_takes_none_is_sent_none<D: Driver, C: Client>() {
    let mut config = ServerConfig::default();
    config.connection.max_frame_descriptors = 0;
    let daemon = Daemon::with_config::<D>(config);
    let mut client = C::connect(&daemon.endpoint);
    daemon.wait_for_connections(1);
    let before = open_descriptors();
    for _ in 0..2 {
        let error = client.ask("close", three()).unwrap_err();
        assert!(matches!(error, FrameClientError::DescriptorsNotTaken { count: 3, limit: 0 }), "{error}");
    }
    // It sends none either.
    let options = RequestOptions::new().with_max_descriptors(7);
    assert_eq!(client.request_reply(SERVED, "accepted".into(), &options).unwrap().payload(), b"0");
    assert_open(before);
}

fn many_requests_with_descriptors_wait_for_each_other<D: Driver, C: Client>() {
    let mut config = ServerConfig::default();
    config.connection.max_in_flight = 2;
    (config.connection.max_frame_descriptors, config.connection.max_descriptors) = (3, 4);
    let daemon = Daemon::with_config::<D>(config);
    let before = open_descriptors();
    let mut clients: Vec<_> = (0..4).map(|_| C::connect(&daemon.endpoint)).collect();
    for round in 0..20 {
        for client in &mut clients {
            let reply = client.ask(&format!("echo {round}"), three()).unwrap();
            assert_eq!(contents(reply.descriptors()), [b"one", b"two", b"333"]);
        }
    }
    drop(clients);
    daemon.wait_for_connections(0);
    assert_open(before);
}
