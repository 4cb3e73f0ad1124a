//! Futures of handlers that panic when they are created, polled or dropped: each costs its request or its connection.

use crate::daemon::Asynchronous;
use crate::support::{SHOUT, TestServer, next, read_frames, read_to_end, refusal, request, write};
use running_process::broker::backend_sdk::{HandlerError, LegacyClassification};
use running_process::broker::protocol::{FrameKind, FrameRef};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};

const INTENDED: &str = "this panic is part of the test";

/// A future that panics when it is dropped, and before that according to its kind.
#[derive(Clone, Copy)]
enum Panics {
    OnceDropped,
    AtOnce,
    AfterAWait,
}

struct Hostile {
    panics: Panics,
    waited: bool,
}

impl Hostile {
    fn poll_now(&mut self, context: &Context<'_>) -> Poll<()> {
        match self.panics {
            Panics::OnceDropped => return Poll::Pending,
            Panics::AtOnce => {}
            Panics::AfterAWait if self.waited => {}
            Panics::AfterAWait => {
                self.waited = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        panic!("{INTENDED}");
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        panic!("{INTENDED}");
    }
}

/// The future of a request.
struct Answer(Hostile);

impl Future for Answer {
    type Output = Result<Vec<u8>, HandlerError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_now(context).map(|()| Ok(Vec::new()))
    }
}

/// The future of a legacy connection.
struct Served(Hostile);

impl Future for Served {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_now(context)
    }
}

fn hostile(panics: Panics) -> Hostile {
    Hostile { panics, waited: false }
}

const BEFORE: u32 = 0xF00F;
const AT_ONCE: u32 = 0xF010;
const AFTER_A_WAIT: u32 = 0xF011;
const ONCE_DROPPED: u32 = 0xF012;

fn each_panic_costs_its_request<const THREADS: usize>() {
    let (report, begun) = mpsc::channel();
    let mut server = TestServer::<Asynchronous<THREADS>>::start(move |daemon| {
        daemon.map(|server| {
            server
                .serve(BEFORE, |_| -> Answer { panic!("{INTENDED}") })
                .serve(AT_ONCE, |_| Answer(hostile(Panics::AtOnce)))
                .serve(AFTER_A_WAIT, |_| Answer(hostile(Panics::AfterAWait)))
                .serve(ONCE_DROPPED, move |_| {
                    report.send(()).unwrap();
                    Answer(hostile(Panics::OnceDropped))
                })
                .legacy(
                    |_| LegacyClassification::NotLegacy,
                    |connection| {
                        assert!(connection.buffered() != b"0", "{INTENDED}");
                        Served(hostile(if connection.buffered() == b"1" {
                            Panics::AtOnce
                        } else {
                            Panics::AfterAWait
                        }))
                    },
                )
        })
    });
    let connection = server.connect();
    for protocol in [BEFORE, AT_ONCE, AFTER_A_WAIT] {
        write(&connection, &request(protocol, 1, b""));
        let refusal = refusal(&read_frames(&connection, 1)[0]);
        assert!(refusal.contains("the handler panicked"), "{refusal}");
        assert_eq!(server.error(), "a handler panicked");
    }
    write(&connection, &request(ONCE_DROPPED, 1, b""));
    next(&begun);
    let mut cancel = Vec::new();
    let frame = FrameRef { kind: FrameKind::Cancel.into(), ..FrameRef::request(ONCE_DROPPED, 1, b"") };
    frame.encode_framed(&mut cancel).unwrap();
    write(&connection, &cancel);
    assert_eq!(refusal(&read_frames(&connection, 1)[0]), "cancelled");
    for wire in [b"0", b"1", b"2"] {
        let legacy = server.connect();
        write(&legacy, wire);
        assert_eq!(read_to_end(&legacy), b"");
        assert_eq!(server.error(), "a handler panicked");
    }
    write(&connection, &request(SHOUT, 2, b"on"));
    assert_eq!(read_frames(&connection, 1)[0].payload, b"ON");
    // A future that is dropped because its client is gone.
    write(&connection, &request(ONCE_DROPPED, 3, b""));
    next(&begun);
    drop(connection);
    server.wait_open(0);
    server.assert_serves();
    server.stop_and_join().unwrap();
}

#[test]
fn a_future_that_panics_costs_its_request_on_several_threads() {
    each_panic_costs_its_request::<2>();
}

#[test]
fn a_future_that_panics_costs_its_request_on_one_thread() {
    each_panic_costs_its_request::<1>();
}
