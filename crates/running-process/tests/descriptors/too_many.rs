//! A user who has more descriptors on their way than one process may have open (`ETOOMANYREFS`): that request fails, and no other.

use super::client::Client;
use super::daemon::{Daemon, Driver, SERVED, chain};
use super::raw::{Raw, encoded};
use super::{cases, content, descriptor, eventually, open_descriptors};
use running_process::broker::backend_sdk::{FrameClientError, Payload, RequestOptions, ServerConfig};
use running_process::broker::protocol::{DescriptorFields, FrameKind, FrameRef, Refusal, RefusalReason};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

cases! {
    a_request_whose_descriptors_the_system_does_not_send_fails_alone
    an_answer_whose_descriptors_the_system_does_not_send_is_a_refusal
    an_event_that_the_system_does_not_send_turns_the_answer_behind_it_into_a_refusal
}

/// Runs `work` on a thread that is bound by the limit, which privileged ones are not. Its own threads are bound as well.
fn bound<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let bound = || {
        let mut own = capabilities(None).unwrap();
        own.effective.remove(CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN);
        set_capabilities(None, own).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(bound).join().unwrap())
}

/// Puts more descriptors on their way than this process may have open, which are a few more than it has. They arrive, and the limit is
/// as before, when this is dropped.
struct OnTheirWay {
    _sockets: (OwnedFd, OwnedFd),
    limit: Rlimit,
}

impl OnTheirWay {
    fn new() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let sockets =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let passed = [sockets.1.as_fd(); 200];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
        sendmsg(&sockets.0, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        let few = Rlimit { current: Some(open_descriptors() as u64 + 50), ..limit };
        assert!(few.current < Some(200), "the test has few files");
        setrlimit(Resource::Nofile, few).unwrap();
        Self { _sockets: sockets, limit }
    }
}

impl Drop for OnTheirWay {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.limit).unwrap();
    }
}

fn a_request_whose_descriptors_the_system_does_not_send_fails_alone<D: Driver, C: Client>() {
    let daemon = Daemon::start::<D>();
    bound(|| {
        let mut client = C::connect(&daemon.endpoint);
        assert_eq!(client.ask("close", [descriptor(b"1")]).unwrap().payload(), b"1");
        for length in [5, 100_000] {
            let on_their_way = OnTheirWay::new();
            let error = client.ask(&"x".repeat(length), [descriptor(b"1")]).unwrap_err();
            assert!(matches!(error, FrameClientError::DescriptorsNotSent(_)), "{}", chain(&error));
            assert!(!error.may_have_run());
            let payload = Payload::from("close").with_descriptors([descriptor(b"1")]);
            let error = client.stream(payload, &RequestOptions::new()).unwrap_err();
            assert!(matches!(error, FrameClientError::DescriptorsNotSent(_)), "{}", chain(&error));
            assert_eq!(client.request(SERVED, "close".into()).unwrap().payload, b"0");
            drop(on_their_way);
            // They are closed once the system has looked for them.
            eventually(|| client.ask("close", [descriptor(b"1")]).ok());
        }
    });
}

fn an_answer_whose_descriptors_the_system_does_not_send_is_a_refusal<D: Driver, C: Client>() {
    let daemon = bound(|| Daemon::start::<D>());
    let mut client = C::connect(&daemon.endpoint);
    let event = daemon.directory.path().join("event");
    std::fs::write(&event, b"event").unwrap();
    let event = |word: &str| Payload::from(format!("{word} {}", event.display()));
    let options = RequestOptions::new().with_max_descriptors(1);
    assert_eq!(client.ask("new 1", []).unwrap().descriptors().len(), 1);
    let on_their_way = OnTheirWay::new();
    // The handler goes on until its event is refused.
    let of_event = client.stream(event("file-event-on"), &options).map(drop);
    for outcome in [of_event, client.ask("new 1", []).map(drop)] {
        let error = outcome.unwrap_err();
        let FrameClientError::Refused(refusal) = error else {
            panic!("no refusal: {}; {}", chain(&error), daemon.error())
        };
        assert_eq!(refusal.reason(), RefusalReason::HandlerFailed);
        assert_eq!(refusal.message, "too many descriptors are on their way");
        assert!(daemon.error().contains("os error 109"), "ETOOMANYREFS");
    }
    assert_eq!(client.request(SERVED, "close".into()).unwrap().payload, b"0");
    drop(on_their_way);
    let reply = eventually(|| client.ask("new 1", []).ok());
    assert_eq!(content(&reply.descriptors()[0]), b"0");
    let (events, _) = eventually(|| client.stream(event("file-event"), &options).ok());
    assert!(events[0].is_file());
}

/// Reads frames until the answers to `ids` have come. Returns for each the response, or the reason of its refusal.
fn answers(raw: &mut Raw, ids: &[u64]) -> Vec<Result<Vec<u8>, RefusalReason>> {
    let mut answers = BTreeMap::new();
    while answers.len() < ids.len() {
        let (body, descriptors) = raw.next().expect("the connection goes on");
        let frame = FrameRef::decode(&body).unwrap();
        assert!(descriptors.is_empty(), "the system sends none");
        if frame.kind == i32::from(FrameKind::Response) {
            let answer = match Refusal::from_frame(&frame) {
                Some(refusal) => Err(refusal.reason()),
                None => Ok(frame.payload.to_vec()),
            };
            assert!(answers.insert(frame.request_id, answer).is_none(), "one answer to each");
        }
    }
    ids.iter().map(|id| answers.remove(id).unwrap()).collect()
}

fn an_event_that_the_system_does_not_send_turns_the_answer_behind_it_into_a_refusal<D: Driver, C: Client>() {
    // More than the socket takes waits in the output, and then the events with their answers.
    let large = "x".repeat(1 << 20);
    let mut config = ServerConfig::default();
    config.send_high_water = large.len() * 3 / 2;
    let daemon = bound(|| Daemon::with_config::<D>(config));
    let path = daemon.directory.path().join("event");
    std::fs::write(&path, b"event").unwrap();
    let path = path.display();
    let mut raw = Raw::connect(&daemon.endpoint.path);
    let descriptors = DescriptorFields::NONE.accepting(1);
    let send = |raw: &Raw, id, text: String| {
        let request = FrameRef { descriptors, ..FrameRef::request(SERVED, id, text.as_bytes()) };
        raw.send(&encoded(&request), &[] as &[OwnedFd]);
    };
    let answered = |count| {
        eventually(|| (daemon.stats.snapshot().requests_answered == count).then_some(()));
    };
    send(&raw, 1, format!("echo {large}"));
    answered(1);
    send(&raw, 2, format!("file-event {path}"));
    send(&raw, 3, format!("file-event {path} {path}"));
    answered(3);
    send(&raw, 4, format!("file-event-on {path} {path}"));
    // More than the events with files: each of them waits in the output.
    eventually(|| (daemon.stats.snapshot().events_sent > 6).then_some(()));
    let on_their_way = OnTheirWay::new();
    let failed = || Err(RefusalReason::HandlerFailed);
    assert!(answers(&mut raw, &[1, 2, 3, 4]) == [Ok(large.into()), failed(), failed(), failed()]);
    for _ in 0..5 {
        assert!(daemon.error().contains("os error 109"), "ETOOMANYREFS");
    }
    send(&raw, 5, "close".into());
    assert_eq!(answers(&mut raw, &[5]), [Ok(b"0".to_vec())]);
    drop(on_their_way);
    _ = C::connect(&daemon.endpoint);
}
