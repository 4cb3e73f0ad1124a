//! Genuine daemons that are slow, silent, loud or full, and their costs for callers.

use crate::harness::{Probed, both, place, prober, refused, verify, verify_deadline};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::ConnectError;
use running_process::broker::protocol::FramingError;
use running_process_acceptance::{Peer, TEST_TIMEOUT};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(150);

/// Returns the reason under a short deadline, and checks that the deadline is kept.
#[track_caller]
fn refused_in_time(mode: &str, argument: &str) {
    for policy in both(&Policy::default()) {
        let place = place();
        let _daemon = Peer::start(place.command(mode).arg(argument));
        let began = Instant::now();
        let error = verify_deadline(&place.identity(), &policy, began + SHORT).unwrap_err();
        assert!(matches!(error, ProbeError::TimedOut), "{error:?}");
        assert!(began.elapsed() >= SHORT, "{:?}", began.elapsed());
        assert!(began.elapsed() < SHORT + TEST_TIMEOUT / 10, "{:?}", began.elapsed());
    }
}

#[test]
fn a_silent_daemon_costs_the_deadline_and_no_more() {
    refused_in_time("silent", "");
}

#[test]
fn a_dripping_daemon_costs_the_deadline_and_no_more() {
    refused_in_time("drip", "1");
}

#[test]
fn a_daemon_that_is_stopped_costs_the_deadline_and_answers_when_it_goes_on() {
    let place = place();
    let daemon = place.start("genuine");
    daemon.stop();
    let identity = place.identity();
    for policy in both(&Policy::default()) {
        let error = verify_deadline(&identity, &policy, Instant::now() + SHORT).unwrap_err();
        assert!(matches!(error, ProbeError::TimedOut), "{error:?}");
    }
    daemon.signal(rustix::process::Signal::CONT);
    verify(&identity, &Policy::default()).unwrap();
}

#[test]
fn a_daemon_that_hangs_up_is_told_at_once() {
    for policy in both(&Policy::default()) {
        let place = place();
        let _daemon = place.start("hang-up");
        let began = Instant::now();
        let error = refused(&place.identity(), &policy);
        assert!(matches!(error, ProbeError::Closed), "{error:?}");
        assert!(began.elapsed() < TEST_TIMEOUT / 10);
    }
}

#[test]
fn a_flooding_daemon_is_told_at_once() {
    for policy in both(&Policy::default()) {
        let place = place();
        let _daemon = place.start("flood");
        let began = Instant::now();
        let error = refused(&place.identity(), &policy);
        assert!(matches!(error, ProbeError::Framing(FramingError::FrameTooLarge { .. })), "{error:?}");
        assert!(began.elapsed() < TEST_TIMEOUT / 10);
    }
}

#[test]
fn a_daemon_that_speaks_before_it_is_asked_is_told_at_once() {
    for policy in both(&Policy::default()) {
        let place = place();
        let _daemon = place.start("greet");
        let began = Instant::now();
        // It is a matter of luck whether the kernel was asked to note writers before.
        let error = refused(&place.identity(), &policy);
        assert!(matches!(error, ProbeError::Framing(_) | ProbeError::Stream(_)), "{error:?}");
        assert!(began.elapsed() < TEST_TIMEOUT / 10);
    }
}

#[test]
fn a_daemon_whose_backlog_is_full_is_told_at_once() {
    let place = place();
    let _daemon = place.start("deaf");
    for policy in both(&Policy::default()) {
        let began = Instant::now();
        let error = refused(&place.identity(), &policy);
        assert!(matches!(error, ProbeError::Connect(ConnectError::BacklogFull { .. })), "{error:?}");
        assert!(began.elapsed() < TEST_TIMEOUT / 10);
    }
}

#[test]
fn ten_thousand_probes_of_a_full_backlog_leave_nothing_behind() {
    for credentials in ["credentials=0", "credentials=1"] {
        let place = place();
        let _daemon = place.start("deaf");
        let probed = Probed::by(&mut prober(&place, &["times=10000", credentials]));
        let outcome = probed.outcome(10_000);
        assert!(outcome.starts_with("refused Connect(BacklogFull"), "{outcome}");
        assert_nothing_left(&probed);
    }
}

#[track_caller]
fn assert_nothing_left(probed: &Probed) {
    for what in ["descriptors ", "threads "] {
        let [before, after] = probed.numbers(what)[..] else { panic!() };
        assert_eq!(before, after, "{what}");
    }
}

#[test]
fn an_answer_of_four_thousand_pieces_costs_no_descriptors() {
    for credentials in ["credentials=0", "credentials=1"] {
        let place = place();
        let _daemon = place.start("drip");
        let probed = Probed::by(&mut prober(&place, &["descriptors=16", "patience=100", credentials]));
        let level = if credentials == "credentials=0" { "Held" } else { "Named" };
        assert_eq!(probed.outcome(1), format!("accepted {level} Own Unchanged origin=true"));
        assert_nothing_left(&probed);
    }
}

#[test]
fn descriptors_that_a_daemon_sends_along_are_not_kept_and_do_not_weaken_the_proof() {
    for words in [["default", "credentials=0"], ["default", "credentials=1"], ["lenient", "credentials=0"]] {
        let place = place();
        let _daemon = place.start("generous");
        let probed = Probed::by(&mut prober(
            &place,
            &[&words[..], &["times=20", "descriptors=400", "patience=100"]].concat(),
        ));
        assert_nothing_left(&probed);
        let outcome = probed.outcome(20);
        let full = if words[1] == "credentials=0" { "Held" } else { "Named" };
        assert!(
            outcome.starts_with("refused Stream") || outcome.starts_with(&format!("accepted {full}")),
            "{outcome}"
        );
    }
}

#[test]
fn a_caller_that_runs_out_of_descriptors_is_told_so_and_never_proves_less() {
    let place = place();
    let _daemon = place.start("genuine");
    let mut served = 0;
    for most in 3..16 {
        let words = ["lenient", &format!("descriptors={most}")];
        let probed = Probed::by(&mut prober(&place, &words));
        let outcome = probed.outcome(1);
        if outcome == "served Held Own Unchanged origin=true" {
            served += 1;
        } else {
            assert!(outcome.starts_with("refused"), "{outcome} with {most} descriptors");
            assert!(!outcome.starts_with("refused Gone"), "{outcome} with {most} descriptors");
            assert!(!outcome.starts_with("refused Impostor"), "{outcome} with {most} descriptors");
        }
        assert_nothing_left(&probed);
    }
    assert!(served > 0);
    let mut replay = place.start("replay");
    for most in 3..16 {
        let words = ["lenient", &format!("descriptors={most}")];
        let probed = Probed::by(&mut prober(&place, &words));
        let outcome = probed.outcome(1);
        assert!(outcome.starts_with("refused"), "{outcome} with {most} descriptors");
    }
    for bytes in replay.received() {
        assert!(running_process_acceptance::only_a_probe(&bytes));
    }
}
