use crate::conversation::{Protocols, alone, on_threads, on_tokio};
use running_process::broker::protocol::Frame;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

type Fields = BTreeMap<String, String>;

/// Everything that was traced, with the span that each event belongs to.
#[derive(Clone)]
struct Traced {
    spans: BTreeMap<u64, Fields>,
    events: Vec<(Level, Fields, Option<u64>)>,
}

static TRACED: Mutex<Traced> = Mutex::new(Traced { spans: BTreeMap::new(), events: Vec::new() });

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

struct Capture {
    last: AtomicU64,
}

/// Method of the subscriber that panics.
static PANICS: Mutex<Option<&'static str>> = Mutex::new(None);

fn panic_in(method: &'static str) {
    let panics = *PANICS.lock().unwrap();
    assert!(panics != Some(method), "this panic is part of the test");
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let cause = value.source().map(ToString::to_string);
        self.0.insert(field.name().to_owned(), format!("{value}: {}", cause.unwrap_or_default()));
    }
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "running_process" || metadata.target().starts_with("observed")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        panic_in("new_span");
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = Fields::from([("name".to_owned(), attributes.metadata().name().to_owned())]);
        attributes.record(&mut Into(&mut fields));
        TRACED.lock().unwrap().spans.insert(id, fields);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        panic_in("record");
        values.record(&mut Into(TRACED.lock().unwrap().spans.get_mut(&span.into_u64()).unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        panic_in("event");
        let mut fields = Fields::new();
        event.record(&mut Into(&mut fields));
        let inside = ENTERED.with_borrow(|entered| entered.last().copied());
        TRACED.lock().unwrap().events.push((*event.metadata().level(), fields, inside));
    }

    fn enter(&self, span: &Id) {
        panic_in("enter");
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn try_close(&self, _: Id) -> bool {
        panic_in("try_close");
        false
    }

    fn exit(&self, span: &Id) {
        panic_in("exit");
        ENTERED.with_borrow_mut(|entered| assert_eq!(entered.pop(), Some(span.into_u64())));
    }
}

const TRACE_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn capture() -> MutexGuard<'static, ()> {
    let guard = alone();
    let _installed_before = tracing::subscriber::set_global_default(Capture { last: AtomicU64::new(0) });
    guard
}

fn requests(protocols: &Protocols) -> Vec<Frame> {
    let request = |protocol, id| Frame::request(protocol, b"x".to_vec()).with_request_id(id);
    let traced = Frame { traceparent: TRACE_PARENT.to_owned(), ..request(protocols.inline, 1) };
    let badly = Frame { traceparent: TRACE_PARENT.to_uppercase(), ..request(protocols.concurrent, 2) };
    let far = Frame { deadline_unix_ms: 1 << 42, ..request(protocols.failing, 3) };
    vec![traced, badly, far]
}

#[track_caller]
fn check(protocols: &Protocols) {
    let traced = TRACED.lock().unwrap().clone();
    let span_of = |protocol: u32| {
        let mut found =
            traced.spans.iter().filter(|(_, fields)| fields["payload_protocol"] == protocol.to_string());
        let (id, fields) = found.next().expect("a span");
        assert!(found.next().is_none(), "one span for each request");
        assert_eq!(fields["name"], "running_process.request");
        assert_eq!(fields["peer.pid"], std::process::id().to_string());
        assert!(fields.contains_key("peer.uid"));
        (*id, fields)
    };
    let inside =
        |id: u64| traced.events.iter().filter(move |(.., span)| *span == Some(id)).collect::<Vec<_>>();

    let (inline, fields) = span_of(protocols.inline);
    assert_eq!(fields["request_id"], "1");
    assert_eq!(fields["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(fields["parent_span_id"], "00f067aa0ba902b7");
    assert_eq!(fields["trace_sampled"], "true");
    assert!(!fields.contains_key("deadline_unix_ms"));
    assert_eq!(inside(inline)[0].1["message"], "in the handler");

    let (concurrent, fields) = span_of(protocols.concurrent);
    assert!(!fields.contains_key("trace_id") && !fields.contains_key("parent_span_id"), "{fields:?}");
    assert_eq!(inside(concurrent)[0].1["message"], "in the handler");

    let (failing, fields) = span_of(protocols.failing);
    assert_eq!(fields["deadline_unix_ms"], (1_u64 << 42).to_string());
    let (level, event, _) = inside(failing)[0];
    assert_eq!((*level, &*event["kind"]), (Level::WARN, "handler_failed"));
    assert!(event["message"].contains("failed") && event["error"].contains("it never works"), "{event:?}");
}

fn hook() {
    tracing::info!("in the handler");
}

#[test]
fn each_request_has_a_span_around_its_handler_on_threads() {
    let _alone = capture();
    let protocols = Protocols { inline: 0xF100, concurrent: 0xF101, failing: 0xF102 };
    on_threads(&protocols, hook, requests(&protocols));
    check(&protocols);
}

#[test]
fn each_request_has_a_span_around_its_handler_on_tokio() {
    let _alone = capture();
    let protocols = Protocols { inline: 0xF200, concurrent: 0xF201, failing: 0xF202 };
    on_tokio(&protocols, hook, requests(&protocols));
    check(&protocols);
}

#[test]
fn a_subscriber_that_panics_costs_no_request() {
    let _alone = capture();
    let protocols = Protocols { inline: 0xF400, concurrent: 0xF401, failing: 0xF402 };
    for method in ["new_span", "record", "event", "enter", "exit", "try_close"] {
        *PANICS.lock().unwrap() = Some(method);
        let answered = [on_threads, on_tokio].map(|serve| serve(&protocols, || {}, requests(&protocols)));
        *PANICS.lock().unwrap() = None;
        assert_eq!(answered, [requests(&protocols).len(); 2], "{method}");
        // Spans stay entered if their exit panicked.
        ENTERED.with_borrow_mut(Vec::clear);
    }
}
