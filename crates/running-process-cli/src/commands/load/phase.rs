//! One phase of a load: workers with one request in flight each, and in an open loop the thread that paces them.

use super::schedule::Schedule;
use super::tally::{Answers, Failures};
use crate::cli::LoadArgs;
use crate::commands::target::Target;
use resp_cache::PAYLOAD_PROTOCOL;
use running_process::broker::backend_sdk::{AsyncFrameClient, FrameClientError};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Duration of the measured phase if the arguments name neither a duration nor a number of requests.
const DEFAULT_DURATION: Duration = Duration::from_secs(5);

/// Time after its end in which an open loop may send requests that were due before.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Time between two looks at the progress.
const TICK: Duration = Duration::from_millis(200);

/// The beginning of an error in RESP2, the protocol of the demo's cache.
const DEMO_ERROR: &str = "-";

/// The requests to send.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) payload: Vec<u8>,
    pub(super) timeout: Duration,
    pub(super) in_flight: u32,
    pub(super) schedule: Option<Schedule>,
    /// The beginning of a response that is an error of the daemon's protocol.
    error_prefix: Option<Vec<u8>>,
}

impl Plan {
    /// Creates the plan for these arguments.
    pub(super) fn new(arguments: &LoadArgs, target: Target, payload: Vec<u8>) -> Self {
        let is_demo = target.protocol == PAYLOAD_PROTOCOL;
        let error_prefix = arguments.error_prefix.as_deref().or(is_demo.then_some(DEMO_ERROR));
        Self {
            error_prefix: error_prefix.map(|prefix| prefix.as_bytes().to_vec()),
            target,
            payload,
            timeout: arguments.timeout,
            in_flight: arguments.in_flight,
            schedule: arguments.rate.map(|per_second| Schedule { per_second }),
        }
    }

    fn is_error(&self, response: &[u8]) -> bool {
        self.error_prefix.as_ref().is_some_and(|prefix| response.starts_with(prefix))
    }
}

/// The end of a phase: its duration or its number of requests, whichever is reached first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) duration: Option<Duration>,
    pub(super) requests: Option<u64>,
    /// Set if a worker ends when its request fails.
    pub(super) ends_at_failure: bool,
}

impl Extent {
    /// Returns the extent of the measured phase.
    pub(super) fn of(arguments: &LoadArgs) -> Self {
        let LoadArgs { duration, requests, .. } = *arguments;
        Self {
            duration: duration.or(requests.is_none().then_some(DEFAULT_DURATION)),
            requests,
            ends_at_failure: false,
        }
    }

    /// Returns the largest number of requests. In an open loop those are the requests that are due before the end.
    fn limit(self, schedule: Option<Schedule>) -> u64 {
        let requests = self.requests.unwrap_or(u64::MAX);
        match (schedule, self.duration) {
            (Some(schedule), Some(duration)) => requests.min(schedule.due_before(duration)),
            _ => requests,
        }
    }
}

/// The outcome of a phase.
pub(super) struct Outcome {
    pub(super) elapsed: Duration,
    pub(super) sent: u64,
    /// Number of requests that were due; `due >= sent`.
    pub(super) due: u64,
    pub(super) answers: Answers,
    pub(super) failures: Failures,
    pub(super) interrupted: bool,
}

/// The progress of a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) elapsed: Duration,
    pub(super) answered: u64,
    pub(super) failed: u64,
}

struct Phase {
    plan: Arc<Plan>,
    begin: Instant,
    end: Option<Instant>,
    limit: u64,
    ends_at_failure: bool,
    /// The next request's number.
    next: AtomicU64,
    sent: AtomicU64,
    /// Number of requests of an open loop that are due and not sent. Closed if the loop ends before all are sent.
    due: Semaphore,
    /// One for each thread of the runtime, so that threads seldom wait for each other.
    answers: Vec<Mutex<Answers>>,
    failures: Mutex<Failures>,
}

/// Runs a phase to its end, or until `interrupt`.
///
/// At its end it waits for the requests in flight; on an interrupt it abandons them.
pub(super) async fn run(
    plan: &Arc<Plan>,
    clients: &[AsyncFrameClient],
    extent: Extent,
    interrupt: &Notify,
    mut show: impl FnMut(Progress),
) -> Outcome {
    let begin = Instant::now();
    let shards = clients.len().min(tokio::runtime::Handle::current().metrics().num_workers());
    let phase = Arc::new(Phase {
        plan: Arc::clone(plan),
        begin,
        end: extent.duration.map(|duration| begin + duration),
        limit: extent.limit(plan.schedule),
        ends_at_failure: extent.ends_at_failure,
        next: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        due: Semaphore::new(0),
        answers: (0..shards).map(|_| Mutex::new(Answers::new())).collect(),
        failures: Mutex::default(),
    });
    let mut workers = JoinSet::new();
    for (number, client) in clients.iter().enumerate() {
        for _ in 0..plan.in_flight {
            workers.spawn(Arc::clone(&phase).work(client.clone(), number % shards));
        }
    }
    let pacer = plan.schedule.map(|schedule| Pacer::start(&phase, schedule, workers.len()));

    let mut interrupted = false;
    let mut tick = tokio::time::interval_at((begin + TICK).into(), TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            worker = workers.join_next() => match worker {
                None => break,
                Some(ended) => if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                    resume_unwind(panic);
                },
            },
            () = interrupt.notified() => {
                interrupted = true;
                workers.abort_all();
            }
            _ = tick.tick() => show(phase.progress()),
        }
    }
    let elapsed = begin.elapsed();
    drop(pacer);
    phase.outcome(elapsed, interrupted)
}

impl Phase {
    /// Sends one request after the other until the phase or the connection ends.
    async fn work(self: Arc<Self>, client: AsyncFrameClient, shard: usize) {
        let Plan { target, timeout, .. } = &*self.plan;
        loop {
            let payload = self.plan.payload.clone();
            let Some(due) = self.next_start().await else { return };
            self.sent.fetch_add(1, Ordering::Relaxed);
            let answer = client.request_deadline(target.protocol, payload, Instant::now() + *timeout).await;
            let latency = due.elapsed();
            match answer {
                Ok(response) => {
                    let mut answers = lock(&self.answers[shard]);
                    answers.add(latency, response.payload.len());
                    if self.plan.is_error(&response.payload) {
                        answers.add_error(response.payload);
                    }
                }
                Err(error) => {
                    let error = match error {
                        // The client's own timeout is slightly shorter, since it starts later.
                        FrameClientError::TimedOut { .. } => FrameClientError::TimedOut { timeout: *timeout },
                        error => error,
                    };
                    lock(&self.failures).add(error);
                    if self.ends_at_failure || !client.is_usable() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until the next request is due and returns the time at which it was due; `None` if the phase is over.
    async fn next_start(&self) -> Option<Instant> {
        let number = || Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < self.limit);
        match self.plan.schedule {
            None => {
                let now = Instant::now();
                if self.end.is_some_and(|end| now >= end) {
                    return None;
                }
                number().map(|_| now)
            }
            Some(schedule) => {
                self.due.acquire().await.ok()?.forget();
                number().map(|number| self.begin + schedule.due_at(number))
            }
        }
    }

    fn progress(&self) -> Progress {
        let answered = self.answers.iter().map(|answers| lock(answers).count()).sum();
        Progress { elapsed: self.begin.elapsed(), answered, failed: lock(&self.failures).count() }
    }

    fn outcome(&self, elapsed: Duration, interrupted: bool) -> Outcome {
        let mut answers = Answers::new();
        for shard in &self.answers {
            answers.merge(&lock(shard));
        }
        let sent = self.sent.load(Ordering::Relaxed);
        let due = self.plan.schedule.map_or(sent, |schedule| schedule.due_by(elapsed).min(self.limit));
        let failures = std::mem::take(&mut *lock(&self.failures));
        Outcome { elapsed, sent, due: due.max(sent), answers, failures, interrupted }
    }
}

/// The thread that releases workers when requests are due. The runtime's timers have a resolution of a millisecond.
struct Pacer {
    /// Ends the thread when it is dropped.
    _stop: mpsc::Sender<()>,
}

impl Pacer {
    fn start(phase: &Arc<Phase>, schedule: Schedule, workers: usize) -> Self {
        let (stop, stopped) = mpsc::channel();
        let phase = Arc::clone(phase);
        std::thread::spawn(move || pace(&phase, schedule, workers, &stopped));
        Self { _stop: stop }
    }
}

fn pace(phase: &Phase, schedule: Schedule, workers: usize, stopped: &mpsc::Receiver<()>) {
    let mut released = 0;
    while released < phase.limit {
        let due = schedule.due_by(phase.begin.elapsed()).min(phase.limit);
        phase.due.add_permits(usize::try_from(due - released).unwrap_or(Semaphore::MAX_PERMITS));
        released = due;
        let wait = schedule.due_at(released).saturating_sub(phase.begin.elapsed());
        let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) else { return };
    }
    // Each worker needs one more permit to find that no request is left.
    phase.due.add_permits(workers);
    if let Some(end) = phase.end {
        let wait = (end + CATCH_UP).saturating_duration_since(Instant::now());
        // The phase has ended, or the time to catch up has passed: nothing more is sent.
        let _ended = stopped.recv_timeout(wait);
        phase.due.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of a worker ends the run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
