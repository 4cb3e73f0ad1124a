//! The order in which the polling thread drives connections, as data without a clock or a lock.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The connections that the polling thread drives without an event of the system: those that are ready, and those whose timer
/// fires. `T` is the handle of one.
pub(super) struct RunQueue<T> {
    ready: VecDeque<T>,
    timers: BTreeSet<(Instant, u64)>,
    /// The thread waits for the system, and is woken when the queue changes.
    polling: bool,
    ended: bool,
}

/// The next thing that the polling thread does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    Drive(T),
    /// The timer of the connection of this id has fired.
    Fire(u64),
    /// Wait for the system, for no longer than this.
    Poll(Option<Duration>),
    End,
}

impl<T> RunQueue<T> {
    pub(super) fn new() -> Self {
        Self { ready: VecDeque::new(), timers: BTreeSet::new(), polling: false, ended: false }
    }

    /// Adds a connection behind the others that are ready. Returns whether the polling thread is to be woken.
    pub(super) fn push(&mut self, conn: T) -> bool {
        if self.ended {
            return false;
        }
        self.ready.push_back(conn);
        std::mem::take(&mut self.polling)
    }

    /// Moves the timer of connection `id` from `before` to `at`, where it is removed when it fires. Returns whether the polling
    /// thread is to be woken.
    pub(super) fn move_timer(&mut self, id: u64, before: Option<Instant>, at: Option<Instant>) -> bool {
        if let Some(before) = before {
            self.timers.remove(&(before, id));
        }
        let Some(at) = at else { return false };
        self.timers.insert((at, id));
        self.timers.first() == Some(&(at, id)) && std::mem::take(&mut self.polling)
    }

    /// Returns what the polling thread does next. The time is asked for only if there are timers.
    pub(super) fn next(&mut self, now: impl FnOnce() -> Instant) -> Next<T> {
        if self.ended {
            return Next::End;
        }
        if let Some(conn) = self.ready.pop_front() {
            return Next::Drive(conn);
        }
        let timeout = self.timers.first().map(|(at, _)| at.saturating_duration_since(now()));
        if timeout == Some(Duration::ZERO)
            && let Some((_, id)) = self.timers.pop_first()
        {
            return Next::Fire(id);
        }
        self.polling = true;
        Next::Poll(timeout)
    }

    /// Takes the connections that the system has reported, in place of the wait. Returns the one that is ready alone.
    pub(super) fn polled(&mut self, mut reported: VecDeque<T>) -> Option<T> {
        self.polling = false;
        if reported.len() == 1 && self.ready.is_empty() {
            return reported.pop_front();
        }
        self.ready.append(&mut reported);
        None
    }

    /// Ends the queue. Returns the connections that were ready, and whether the polling thread is to be woken.
    pub(super) fn end(&mut self) -> (VecDeque<T>, bool) {
        self.ended = true;
        (std::mem::take(&mut self.ready), std::mem::take(&mut self.polling))
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ready_connections_come_before_timers_and_timers_in_order() {
        let (mut queue, now) = (RunQueue::new(), Instant::now());
        queue.move_timer(7, None, Some(now));
        queue.move_timer(8, None, Some(now + SECOND));
        queue.move_timer(9, None, Some(now + 2 * SECOND));
        queue.move_timer(9, Some(now + 2 * SECOND), None);
        queue.push('a');
        queue.push('b');
        assert_eq!(queue.next(|| unreachable!("a connection is ready")), Next::Drive('a'));
        assert_eq!(queue.next(|| now), Next::Drive('b'));
        assert_eq!(queue.next(|| now), Next::Fire(7));
        assert_eq!(queue.next(|| now), Next::Poll(Some(SECOND)));
        assert_eq!(queue.next(|| now + SECOND), Next::Fire(8));
        assert_eq!(queue.next(|| unreachable!("no timer is left")), Next::Poll(None));
    }

    #[test]
    fn the_polling_thread_is_woken_once_for_what_it_does_not_wait_for() {
        let (mut queue, now) = (RunQueue::new(), Instant::now());
        assert!(!queue.push('a') && !queue.move_timer(7, None, Some(now + SECOND)), "no thread polls yet");
        assert_eq!((queue.next(|| now), queue.next(|| now)), (Next::Drive('a'), Next::Poll(Some(SECOND))));
        assert!(!queue.move_timer(8, None, Some(now + 2 * SECOND)), "it wakes by itself before that");
        assert!(queue.move_timer(9, None, Some(now + SECOND / 2)));
        assert!(!queue.push('b'), "it was woken");
        assert_eq!(queue.polled(['c'].into()), None);
        assert_eq!((queue.next(|| now), queue.next(|| now)), (Next::Drive('b'), Next::Drive('c')));
        queue.next(|| now);
        assert_eq!(queue.polled(['d'].into()), Some('d'));
    }

    #[test]
    fn an_ended_queue_gives_back_what_is_ready_and_takes_no_more() {
        let mut queue = RunQueue::new();
        queue.push('a');
        assert_eq!(queue.end(), (['a'].into(), false));
        assert!(!queue.push('b'));
        assert_eq!(queue.next(Instant::now), Next::End);
        assert_eq!(queue.end().0, []);
    }
}
