use crate::conversation::{Protocols, alone, on_threads, on_tokio};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use running_process::broker::protocol::Frame;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The value of each metric by its name and labels; of a histogram, how much was recorded.
static VALUES: Mutex<BTreeMap<String, f64>> = Mutex::new(BTreeMap::new());

/// True while recording panics.
static PANICS: AtomicBool = AtomicBool::new(false);

struct Metric(String);

impl Metric {
    fn of(key: &Key) -> Arc<Self> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Self(format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn change(&self, by: f64) {
        assert!(!PANICS.load(Ordering::Relaxed), "this panic is part of the test");
        *VALUES.lock().unwrap().entry(self.0.clone()).or_default() += by;
    }
}

impl CounterFn for Metric {
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    fn increment(&self, value: u64) {
        self.change(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("counters only grow");
    }
}

impl GaugeFn for Metric {
    fn increment(&self, value: f64) {
        self.change(value);
    }

    fn decrement(&self, value: f64) {
        self.change(-value);
    }

    fn set(&self, _: f64) {
        panic!("gauges of several servers add up");
    }
}

impl HistogramFn for Metric {
    fn record(&self, value: f64) {
        assert!((0.0..60.0).contains(&value), "{value} seconds");
        self.change(1.0);
    }
}

struct Records;

impl Recorder for Records {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Metric::of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Metric::of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Metric::of(key))
    }
}

fn record() -> MutexGuard<'static, ()> {
    let guard = alone();
    let _installed_before = metrics::set_global_recorder(Records);
    VALUES.lock().unwrap().clear();
    guard
}

const PROTOCOLS: Protocols = Protocols { inline: 0xF300, concurrent: 0xF301, failing: 0xF302 };

fn requests() -> Vec<Frame> {
    [PROTOCOLS.inline, PROTOCOLS.inline, PROTOCOLS.concurrent, PROTOCOLS.failing, 0xF3FF]
        .into_iter()
        .zip(1..)
        .map(|(protocol, id)| Frame::request(protocol, b"x".to_vec()).with_request_id(id))
        .collect()
}

#[track_caller]
#[expect(clippy::float_cmp, reason = "whole numbers are exact")]
fn check() {
    let values = VALUES.lock().unwrap().clone();
    for (metric, expected) in [
        ("running_process_connections_total{}", 1.0),
        ("running_process_connections_open{}", 0.0),
        ("running_process_requests_total{protocol=0xF300,outcome=answered}", 2.0),
        ("running_process_requests_total{protocol=0xF301,outcome=answered}", 1.0),
        ("running_process_requests_total{protocol=0xF302,outcome=refused}", 1.0),
        ("running_process_requests_total{protocol=other,outcome=refused}", 1.0),
        ("running_process_refusals_total{reason=REFUSAL_REASON_HANDLER_FAILED}", 1.0),
        ("running_process_refusals_total{reason=REFUSAL_REASON_UNSERVED_PROTOCOL}", 1.0),
        ("running_process_requests_in_flight{}", 0.0),
        ("running_process_memory_bytes{}", 0.0),
        ("running_process_request_duration_seconds{}", 3.0),
        ("running_process_errors_total{kind=handler_failed}", 1.0),
        ("running_process_errors_total{kind=rules_broken}", 1.0),
    ] {
        assert_eq!(values.get(metric).copied(), Some(expected), "{metric} of {values:#?}");
    }
    let bytes: usize = requests().iter().map(encoded_length).sum();
    assert_eq!(values["running_process_received_bytes_total{}"], f64::from(u32::try_from(bytes).unwrap()));
    assert!(values["running_process_sent_bytes_total{}"] > 0.0);
}

fn encoded_length(frame: &Frame) -> usize {
    running_process::broker::protocol::encode_framed(frame).unwrap().len()
}

#[test]
fn a_recorder_sees_what_a_server_on_threads_does() {
    let _alone = record();
    on_threads(&PROTOCOLS, || {}, requests());
    check();
}

#[test]
fn a_recorder_sees_what_a_server_on_tokio_does() {
    let _alone = record();
    on_tokio(&PROTOCOLS, || {}, requests());
    check();
}

#[test]
fn a_recorder_that_panics_costs_no_request() {
    let _alone = record();
    PANICS.store(true, Ordering::Relaxed);
    let answered = [on_threads, on_tokio].map(|serve| serve(&PROTOCOLS, || {}, requests()));
    PANICS.store(false, Ordering::Relaxed);
    assert_eq!(answered, [requests().len(); 2]);
}
