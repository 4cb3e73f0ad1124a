//! Clients of every kind that ask without a pause.

use super::fixture::{Replaceable, deadline};
use super::times::Asked;
use running_process::ReconnectingClient;
use running_process::broker::backend_sdk::{AsyncFrameClient, FrameClient, ReconnectConfig};
use running_process::broker::protocol::Frame;
use running_process::broker::service::Deadline;
use running_process_acceptance::wire::{LEDGER, Work};
use running_process_acceptance::{TEST_TIMEOUT, watched};
use std::error::Error;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests in flight at once on each connection that several tasks share.
const AT_ONCE: usize = 4;
/// The times that requests take in turn, in milliseconds.
const TIMES: [u64; 5] = [0, 3, 0, 10, 25];

/// The failure of a request or of a connection.
type Failure = Box<dyn Error + Send + Sync>;

/// The requests that were answered, and the failures.
#[derive(Default)]
struct Log {
    asked: Mutex<Vec<Asked>>,
    failures: Mutex<Vec<String>>,
}

impl Log {
    fn failed(&self, kind: &str, error: &dyn Error) {
        let causes = std::iter::successors(Some(error), |&error| error.source());
        let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        self.failures.lock().unwrap().push(format!("{kind}: {text}"));
    }

    /// Notes the `answer` to a request that began then, and returns whether there is one.
    fn note(&self, kind: &'static str, work: Work, began: Instant, answer: Result<Frame, Failure>) -> bool {
        let took = began.elapsed().saturating_sub(work.time);
        let is_answered = answer.is_ok();
        match answer {
            Ok(frame) => {
                let pid = str::from_utf8(&frame.payload).unwrap().parse().unwrap();
                let asked = Asked { kind, number: work.number, pid, began, took };
                self.asked.lock().unwrap().push(asked);
            }
            Err(error) => self.failed(&format!("{kind}, request {}", work.number), &*error),
        }
        is_answered
    }
}

/// Clients that run until they are stopped. One that fails stops by itself.
pub(super) struct Askers {
    service: Arc<Replaceable>,
    log: Arc<Log>,
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Askers {
    pub(super) fn new(service: &Arc<Replaceable>) -> Self {
        Self { service: Arc::clone(service), log: Arc::default(), done: Arc::default(), threads: Vec::new() }
    }

    /// Calls `ask` on a thread of its own, again and again, until it returns `false`.
    fn thread(&mut self, mut ask: impl FnMut(&Replaceable, &Log) -> bool + Send + 'static) {
        let (service, log, done) = (Arc::clone(&self.service), Arc::clone(&self.log), Arc::clone(&self.done));
        self.threads.push(thread::spawn(
            move || {
                while !done.load(Ordering::Relaxed) && ask(&service, &log) {}
            },
        ));
    }

    /// Calls `run` on a thread of its own, again and again.
    fn runner(
        &mut self,
        kind: &'static str,
        mut run: impl FnMut(&Replaceable) -> Result<(), Failure> + Send + 'static,
    ) {
        self.thread(move |service, log| match run(service) {
            Ok(()) => true,
            Err(error) => {
                log.failed(kind, &*error);
                false
            }
        });
    }

    /// Calls `ask` on a thread of its own with each request in turn.
    fn asker(
        &mut self,
        kind: &'static str,
        mut ask: impl FnMut(&Replaceable, Work) -> Result<Frame, Failure> + Send + 'static,
    ) {
        let mut turns = TIMES.iter().cycle();
        self.thread(move |service, log| {
            let work = service.work(Duration::from_millis(*turns.next().unwrap()));
            let began = Instant::now();
            log.note(kind, work, began, ask(service, work))
        });
    }

    /// Clients on tokio: one that ensures the service, one that reads its identity file and one that connects to its endpoint, with
    /// several requests in flight on each.
    pub(super) fn on_tokio(self) -> Self {
        self.clients_on_tokio(true)
    }

    /// A client on tokio that ensures the service, with several requests in flight.
    pub(super) fn reconnects(self) -> Self {
        self.clients_on_tokio(false)
    }

    fn clients_on_tokio(mut self, all: bool) -> Self {
        let (service, log, done) = (Arc::clone(&self.service), Arc::clone(&self.log), Arc::clone(&self.done));
        self.threads.push(thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let endpoint = AsyncFrameClient::connect(&service.endpoint()).await.unwrap();
                let config = ReconnectConfig::default;
                let ensures = ReconnectingClient::for_service(service.service(), config());
                let reads = ReconnectingClient::new(service.place().join("identity.json"), config());
                let mut tasks = JoinSet::new();
                for first in 0..AT_ONCE {
                    macro_rules! ask_with {
                        ($kind:literal, $client:expr) => {
                            let (client, service) = ($client.clone(), Arc::clone(&service));
                            let (log, done) = (Arc::clone(&log), Arc::clone(&done));
                            tasks.spawn(async move {
                                for turn in first.. {
                                    if done.load(Ordering::Relaxed) {
                                        break;
                                    }
                                    let work = service.work(Duration::from_millis(TIMES[turn % TIMES.len()]));
                                    let began = Instant::now();
                                    let asked = client.request_deadline(LEDGER, work.payload(), deadline());
                                    if !log.note($kind, work, began, asked.await.map_err(Into::into)) {
                                        break;
                                    }
                                }
                            });
                        };
                    }
                    ask_with!("ReconnectingClient", ensures);
                    if all {
                        ask_with!("AsyncFrameClient", endpoint);
                        ask_with!("identity file", reads);
                    }
                }
                while let Some(ended) = tasks.join_next().await {
                    ended.unwrap();
                }
            });
        }));
        self
    }

    /// A client that keeps its connection until its daemon has told it to move.
    pub(super) fn blocking(mut self) -> Self {
        let mut client: Option<FrameClient> = None;
        self.asker("FrameClient", move |service, work| {
            if client.as_mut().is_some_and(FrameClient::has_moved) {
                client = None;
            }
            let client = match &mut client {
                Some(client) => client,
                none => none.insert(service.service().ensure(Deadline::after(TEST_TIMEOUT))?.into_client()),
            };
            Ok(client.request_deadline(LEDGER, work.payload(), deadline())?)
        });
        self
    }

    /// A client that asks for the daemon of the service each time.
    pub(super) fn ensures(mut self) -> Self {
        self.asker("ensure", |service, work| {
            let mut client = service.service().ensure(Deadline::after(TEST_TIMEOUT))?.into_client();
            Ok(client.request_deadline(LEDGER, work.payload(), deadline())?)
        });
        self
    }

    /// A client that asks for the daemon of the service, and for nothing more.
    pub(super) fn only_ensures(mut self) -> Self {
        self.runner("ensure", |service| {
            service.service().ensure(Deadline::after(TEST_TIMEOUT))?;
            Ok(())
        });
        self
    }

    /// A client that connects to the endpoint each time, without a proof, and one that connects and sends nothing.
    pub(super) fn connects(mut self) -> Self {
        self.asker("connect", |service, work| {
            let mut client = FrameClient::connect(&service.endpoint())?;
            Ok(client.request_deadline(LEDGER, work.payload(), deadline())?)
        });
        self.runner("bare connect", |service| {
            UnixStream::connect(service.socket())?;
            thread::sleep(Duration::from_millis(1));
            Ok(())
        });
        self
    }

    /// A tool that `run` runs.
    pub(super) fn tool(
        mut self,
        run: impl FnMut(&Replaceable) -> Result<(), Failure> + Send + 'static,
    ) -> Self {
        self.runner("tool", run);
        self
    }

    /// Ends the clients, and returns the requests that were answered, with the failures.
    pub(super) fn stop(mut self) -> (Vec<Asked>, Vec<String>) {
        self.done.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        watched(move || threads.into_iter().for_each(|thread| thread.join().unwrap()));
        let asked = std::mem::take(&mut *self.log.asked.lock().unwrap());
        let failures = std::mem::take(&mut *self.log.failures.lock().unwrap());
        (asked, failures)
    }
}

impl Drop for Askers {
    fn drop(&mut self) {
        // The test has failed.
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Checks that no request failed, that each was run once, and by the process that answered it.
#[track_caller]
pub(super) fn assert_each_answered_once(service: &Replaceable, asked: &[Asked], failures: &[String]) {
    assert!(failures.is_empty(), "{} of {} failed: {failures:#?}", failures.len(), service.asked());
    assert_eq!(u64::try_from(asked.len()).unwrap(), service.asked());
    let mut ledger = service.ledger();
    for asked in asked {
        assert_eq!(ledger.remove(&asked.number), Some(vec![asked.pid]), "{asked:?}");
    }
    assert!(ledger.is_empty(), "run and not answered: {ledger:?}");
}
