//! The parts of the server that several threads use, one at a time.

use crate::broker::backend_sdk::model_check::check;
use crate::broker::backend_sdk::proto::server_connection::CancelReason;
use crate::broker::backend_sdk::server::blocking::pool::Pool;
use crate::broker::backend_sdk::server::budget::{Budget, Reservation};
use crate::broker::backend_sdk::server::cancellation::Cancellation;
use crate::broker::backend_sdk::server::stop::ServerStop;
use crate::broker::backend_sdk::server::sync::atomic::{AtomicUsize, Ordering};
use crate::broker::backend_sdk::server::sync::thread;
use std::sync::Arc;

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn each_job_is_done_once_and_every_thread_ends() {
    check(|| {
        let pool = Pool::new();
        let done = Arc::new(AtomicUsize::new(0));
        let submit = |count: usize| {
            let (pool, done) = (Arc::clone(&pool), Arc::clone(&done));
            thread::spawn(move || {
                for _ in 0..count {
                    let done = Arc::clone(&done);
                    pool.submit(Box::new(move || add(&done))).expect("a thread");
                }
            })
        };
        for submitting in [submit(2), submit(2)] {
            submitting.join().expect("it has submitted");
        }
        pool.close();
        while done.load(Ordering::SeqCst) < 4 {
            thread::yield_now();
        }
    });
}

#[test]
fn a_job_that_blocks_holds_up_no_other() {
    check(|| {
        let pool = Pool::new();
        let done = Arc::new(AtomicUsize::new(0));
        let first = Arc::clone(&done);
        pool.submit(Box::new(move || add(&first))).expect("a thread");
        while done.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        // Its thread may wait by now; then it takes one of the two.
        let cancellation = Cancellation::default();
        let waits = cancellation.clone();
        pool.submit(Box::new(move || assert!(waits.wait(None).is_some()))).expect("a thread");
        pool.submit(Box::new(move || cancellation.cancel(CancelReason::Requested))).expect("a thread");
        pool.close();
    });
}

#[test]
fn a_thread_that_waits_sees_the_cancellation_and_the_first_reason_stays() {
    check(|| {
        let cancellation = Cancellation::default();
        let cancelling = [CancelReason::Requested, CancelReason::PeerGone].map(|reason| {
            let cancellation = cancellation.clone();
            thread::spawn(move || cancellation.cancel(reason))
        });
        let seen = cancellation.wait(None);
        for thread in cancelling {
            thread.join().expect("it has cancelled");
        }
        assert!(seen.is_some() && seen == cancellation.get());
    });
}

#[test]
fn a_stop_has_its_effect_once_before_the_server_starts_and_after() {
    check(|| {
        let (stop, effects) = (ServerStop::default(), Arc::new(AtomicUsize::new(0)));
        let stopping = [stop.clone(), stop.clone()].map(|stop| thread::spawn(move || stop.stop()));
        let count = Arc::clone(&effects);
        stop.when_stopped(move || add(&count));
        for thread in stopping {
            thread.join().expect("it has stopped");
        }
        assert_eq!(effects.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_budget_is_never_exceeded_and_all_of_it_comes_back() {
    check(|| {
        let budget = Arc::new(Budget::new(100, 1000));
        let used = Arc::new(AtomicUsize::new(0));
        let using = [60, 70].map(|wanted| {
            let (budget, used) = (Arc::clone(&budget), Arc::clone(&used));
            thread::spawn(move || {
                let mut reservation = Reservation::default();
                if budget.charge(&mut reservation, wanted, true) {
                    assert!(used.fetch_add(wanted, Ordering::SeqCst) + wanted <= 100);
                    used.fetch_sub(wanted, Ordering::SeqCst);
                    assert!(budget.charge(&mut reservation, 0, true));
                }
            })
        });
        for thread in using {
            thread.join().expect("it is done");
        }
        assert!(budget.charge(&mut Reservation::default(), 100, true));
    });
}
