//! One stretch of load: lanes, each with one request in flight, and for an open loop the thread that paces them.

use super::schedule::Schedule;
use super::tally::{Answers, Failures};
use crate::cli::LoadArgs;
use crate::commands::target::Target;
use running_process::broker::backend_sdk::{AsyncFrameClient, FrameClientError};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

/// How much later than its end an open loop may send what was due before.
const CATCH_UP: Duration = Duration::from_millis(100);

/// What every request is, and how many there may be at once.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) payload: Vec<u8>,
    pub(super) timeout: Duration,
    pub(super) in_flight: u32,
    pub(super) schedule: Option<Schedule>,
}

impl Plan {
    pub(super) fn new(arguments: &LoadArgs, target: Target, payload: Vec<u8>) -> Self {
        Self {
            target,
            payload,
            timeout: arguments.timeout,
            in_flight: arguments.in_flight,
            schedule: arguments.rate.map(|per_second| Schedule { per_second }),
        }
    }
}

/// When a phase is over: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) duration: Option<Duration>,
    pub(super) requests: Option<u64>,
    /// A lane whose request fails sends no other.
    pub(super) ends_at_failure: bool,
}

impl Extent {
    /// How many requests there are at most. An open loop owes those that are due before its end.
    fn limit(self, schedule: Option<Schedule>) -> u64 {
        let requests = self.requests.unwrap_or(u64::MAX);
        match (schedule, self.duration) {
            (Some(schedule), Some(duration)) => requests.min(schedule.due_before(duration)),
            _ => requests,
        }
    }
}

/// What a phase came to.
pub(super) struct Outcome {
    pub(super) elapsed: Duration,
    pub(super) sent: u64,
    /// How many of them an open loop had to send; at least `sent`.
    pub(super) due: u64,
    pub(super) answers: Answers,
    pub(super) failures: Failures,
    pub(super) interrupted: bool,
}

/// How far a phase is.
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
    /// How many requests of an open loop are due and not sent; closed when it ends before they all were.
    due: Semaphore,
    /// Several, so that the runtime's threads seldom wait for each other.
    answers: Vec<Mutex<Answers>>,
    failures: Mutex<Failures>,
}

/// Runs a phase to its end, or until `interrupt`. What is in flight at its end is waited for; interrupted it is given up.
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
        answers: (0..shards).map(|_| Mutex::new(Answers::none())).collect(),
        failures: Mutex::default(),
    });
    let mut lanes = JoinSet::new();
    for (number, client) in clients.iter().enumerate() {
        for _ in 0..plan.in_flight {
            lanes.spawn(Arc::clone(&phase).lane(client.clone(), number % shards));
        }
    }
    let pacer = plan.schedule.map(|schedule| Pacer::start(&phase, schedule, lanes.len()));

    let mut interrupted = false;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            lane = lanes.join_next() => match lane {
                None => break,
                Some(ended) => if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                    resume_unwind(panic);
                },
            },
            () = interrupt.notified() => {
                interrupted = true;
                lanes.abort_all();
            }
            _ = tick.tick() => show(phase.progress()),
        }
    }
    let elapsed = begin.elapsed();
    drop(pacer);
    phase.outcome(elapsed, interrupted)
}

impl Phase {
    /// Sends one request after the other, until the phase is over, or the connection, which a failed request tells.
    async fn lane(self: Arc<Self>, client: AsyncFrameClient, shard: usize) {
        let Plan { target, timeout, .. } = &*self.plan;
        loop {
            let payload = self.plan.payload.clone();
            let Some(intended) = self.next_start().await else { return };
            self.sent.fetch_add(1, Ordering::Relaxed);
            let answer = client.request_deadline(target.protocol, payload, Instant::now() + *timeout).await;
            let latency = intended.elapsed();
            match answer {
                Ok(response) => lock(&self.answers[shard]).add(latency, response.payload.len()),
                Err(error) => {
                    let error = match error {
                        // The client was asked a moment later, for a moment less.
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

    /// When the next request is or was to be sent, once that time has come. `None`: there is no other.
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
        let mut answers = Answers::none();
        for shard in &self.answers {
            answers.merge(&lock(shard));
        }
        let sent = self.sent.load(Ordering::Relaxed);
        let due = self.plan.schedule.map_or(sent, |schedule| schedule.due_by(elapsed).min(self.limit));
        let failures = std::mem::take(&mut *lock(&self.failures));
        Outcome { elapsed, sent, due: due.max(sent), answers, failures, interrupted }
    }
}

/// Lets lanes go when their requests are due. A thread, since the runtime's timers are as coarse as a millisecond.
struct Pacer {
    /// Dropped to end it.
    _stop: mpsc::Sender<()>,
}

impl Pacer {
    fn start(phase: &Arc<Phase>, schedule: Schedule, lanes: usize) -> Self {
        let (stop, stopped) = mpsc::channel();
        let phase = Arc::clone(phase);
        std::thread::spawn(move || pace(&phase, schedule, lanes, &stopped));
        Self { _stop: stop }
    }
}

fn pace(phase: &Phase, schedule: Schedule, lanes: usize, stopped: &mpsc::Receiver<()>) {
    let mut released = 0;
    while released < phase.limit {
        let due = schedule.due_by(phase.begin.elapsed()).min(phase.limit);
        phase.due.add_permits(usize::try_from(due - released).unwrap_or(Semaphore::MAX_PERMITS));
        released = due;
        let wait = schedule.due_at(released).saturating_sub(phase.begin.elapsed());
        let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) else { return };
    }
    // One more for each lane, to find that there is no other request.
    phase.due.add_permits(lanes);
    if let Some(end) = phase.end {
        let wait = (end + CATCH_UP).saturating_duration_since(Instant::now());
        // Ended or too late: what was not sent until now never is.
        let _ended = stopped.recv_timeout(wait);
        phase.due.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked ends the run.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
