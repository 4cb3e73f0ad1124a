//! Every choice of the policy, with its sentence, and what holds for any versions.

use super::*;
use crate::broker::service::upgrade::Release;
use proptest::prelude::*;

const PROGRAM: &str = "/usr/bin/shout";
const OTHER: &str = "/opt/test/shout";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Returns a candidate with the version, and behind a space the build, of `release`.
fn candidate(release: &str) -> Candidate {
    Candidate::new(parsed(release)).program(PROGRAM).mark("of today")
}

fn parsed(release: &str) -> Release {
    let (version, build) = release.split_once(' ').unwrap_or((release, ""));
    Release::new(version, build)
}

fn record(seconds: u64, from: &str, to: Option<&str>) -> ReplacementRecord {
    ReplacementRecord::new(at(seconds), parsed(from), parsed("9.9"), to.map(parsed))
}

/// Each choice by the versions: the policy, the release that runs and the wanted one, and behind them the rest of the sentence.
const CHOICES: &str = "
newer | 1.0.0 | 1.0.0 | kept: this client wants version 1.0.0, which is the same
newer | 1.0 a | 1.0.0 b | kept: this client wants version 1.0.0 (build b), which is the same
newer | 1.0.0+a | 1.0.0+b | kept: this client wants version 1.0.0+b, which is the same
newer | nightly | nightly | kept: this client wants version nightly, which is the same
newer | 1.9.0 | 1.10.0 | replaced: it is older than version 1.10.0, which this client wants
newer | 2.0.0-rc.1 | 2.0.0 | replaced: it is older than version 2.0.0, which this client wants
newer | 2.0.0 | 1.0.0 a | kept: it is newer than version 1.0.0 (build a), which this client wants
newer | | 1.0.0 | replaced: this client wants version 1.0.0, and a daemon that tells no version counts as older
newer | | nightly | replaced: this client wants version nightly, and a daemon that tells no version counts as older
newer | | | kept: this client has no version, and replaces no daemon
newer | 1.0.0 | | kept: this client has no version, and replaces no daemon
newer | nightly | 1.0.0 | kept: this client wants version 1.0.0, and the two have no order
newer | 1.0.0 | nightly | kept: this client wants version nightly, and the two have no order
own | 1.0.0 | 1.0.0 | kept: this client wants version 1.0.0, which is the same
own | 1.0.0 a | 1.0.0 | kept: this client wants version 1.0.0, which is the same
own | 1.0.0 a | 1.0.0 b | replaced: this client wants exactly version 1.0.0 (build b)
own | 1.0.0 | 1.0.0 b | replaced: this client wants exactly version 1.0.0 (build b)
own | 1.0 | 1.0.0 | replaced: this client wants exactly version 1.0.0
own | 2.0.0 | 1.0.0 | replaced: this client wants exactly version 1.0.0
own | | nightly | replaced: this client wants exactly version nightly
own | 1.0.0 | | kept: this client has no version, and replaces no daemon
never | 1.0.0 | 2.0.0 | kept: this client wants version 2.0.0, and its policy replaces no daemon
never | | 2.0.0 | kept: this client wants version 2.0.0, and its policy replaces no daemon
";

#[test]
fn the_version_that_runs_and_the_one_that_is_wanted_decide() {
    for choice in CHOICES.trim().lines() {
        let parts: Vec<_> = choice.split('|').map(str::trim).collect();
        let [rule, running, wanted, expected] = parts[..] else { panic!("{choice}") };
        let policy = match rule {
            "newer" => UpgradePolicy::newer_replaces(),
            "own" => UpgradePolicy::own_version(),
            "never" => UpgradePolicy::never(),
            _ => panic!("{choice}"),
        };
        let decision = policy.decide(&candidate(running), &candidate(wanted), &[], at(1000));
        assert_eq!(decision.to_string(), format!("the daemon of {} is {expected}", parsed(running)));
    }
}

#[test]
fn a_client_without_a_version_replaces_nobody_also_by_its_build() {
    for policy in [UpgradePolicy::newer_replaces(), UpgradePolicy::own_version(), UpgradePolicy::never()] {
        let build = Candidate::new(Release::new("", "b")).program(PROGRAM);
        let decision = policy.decide(&candidate("1.0.0 a"), &build, &[], at(1000));
        assert!(matches!(decision, Decision::Keep { reason: KeepReason::ClientWithoutVersion, .. }));
    }
}

#[test]
fn a_daemon_of_another_program_is_not_displaced() {
    let wanted = candidate("2.0.0");
    let elsewhere = candidate("1.0.0").program(OTHER);
    let decide = |policy: UpgradePolicy, running: &Candidate, wanted: &Candidate| {
        policy.decide(running, wanted, &[], at(1000)).to_string()
    };
    let place = "its program is \"/usr/bin/shout\", and the daemon was started from \"/opt/test/shout\"";
    assert_eq!(
        decide(UpgradePolicy::default(), &elsewhere, &wanted),
        format!("the daemon of version 1.0.0 is kept: this client wants version 2.0.0, but {place}")
    );
    assert_eq!(
        decide(UpgradePolicy::own_version(), &elsewhere, &wanted),
        format!(
            "the daemon of version 1.0.0 is not replaced by version 2.0.0, which this client wants exactly: {place}"
        )
    );
    let anywhere = UpgradePolicy::default().any_path(true);
    assert!(matches!(anywhere.decide(&elsewhere, &wanted, &[], at(1)), Decision::Replace { .. }));
    // Its versions come first: the same version is no question of the path.
    assert!(decide(UpgradePolicy::default(), &elsewhere, &candidate("1.0.0")).ends_with("which is the same"));
    assert_eq!(
        decide(UpgradePolicy::default().any_path(true), &elsewhere, &Candidate::new(parsed("2.0.0"))),
        "the daemon of version 1.0.0 is kept: this client wants version 2.0.0, but it has no program to start"
    );
}

#[test]
fn a_program_that_gave_the_same_daemon_before_is_not_started_again() {
    let (running, wanted) = (candidate("1.0.0"), candidate("2.0.0"));
    let futile = ReplacementRecord::new(at(0), parsed(""), parsed("2.0.0"), Some(parsed("1.0.0")))
        .mark(wanted.mark.clone());
    let decide = |policy: UpgradePolicy, wanted: &Candidate, record: &ReplacementRecord| {
        policy.decide(&running, wanted, std::slice::from_ref(record), at(24 * 3600 - 1))
    };
    assert_eq!(
        decide(UpgradePolicy::default(), &wanted, &futile).to_string(),
        "the daemon of version 1.0.0 is kept: this client wants version 2.0.0, but its program is of version 1.0.0 and has not changed since"
    );
    assert!(matches!(
        decide(UpgradePolicy::own_version(), &wanted, &futile),
        Decision::Refuse { reason: RefuseReason::Obstacle(Obstacle::NotUpgraded), .. }
    ));
    let others = [
        (wanted.clone().mark("of tomorrow"), futile.clone()),
        (candidate("3.0.0"), futile.clone()),
        (Candidate { mark: None, ..wanted.clone() }, futile.clone().mark(None)),
        (wanted.clone(), ReplacementRecord { to: None, ..futile.clone() }),
        (wanted.clone(), ReplacementRecord { at: at(24 * 3600), ..futile.clone() }),
        (wanted.clone(), ReplacementRecord { to: Some(parsed("2.0.0")), ..futile }),
    ];
    let policy = UpgradePolicy::default();
    let tomorrow = policy.decide(&running, &wanted, std::slice::from_ref(&others[0].1), at(24 * 3600));
    assert!(matches!(tomorrow, Decision::Replace { .. }), "{tomorrow}");
    for (wanted, record) in &others {
        let decision = decide(UpgradePolicy::default(), wanted, record);
        assert!(matches!(decision, Decision::Replace { .. }), "{wanted:?} after {record:?}: {decision}");
    }
}

#[test]
fn the_bound_refuses_with_both_versions_until_one_is_old_enough() {
    let (running, wanted) = (candidate("1.0.0"), candidate("2.0.0"));
    let recent = [
        record(0, "1.0.0", Some("1.1.0")),
        record(500, "1.1.0", Some("2.0.0")),
        record(600, "2.0.0", None),
        record(900, "2.0.0", Some("1.0.0")),
    ];
    let decide = |records: &[ReplacementRecord], now| {
        UpgradePolicy::default().decide(&running, &wanted, records, at(now))
    };
    assert_eq!(
        decide(&recent, 1000).to_string(),
        "the daemon of version 1.0.0 is not replaced by version 2.0.0, which this client wants: 3 replacements within 600s are the \
         limit, and the last one was from version 2.0.0 to version 1.0.0; use one version in all clients, or try again in 100s"
    );
    let two_are_old = decide(&recent[..3], 1000).to_string();
    assert!(two_are_old.starts_with("the daemon of version 1.0.0 is replaced"), "{two_are_old}");
    let one_second_early = decide(&[&recent[..2], &recent[1..2]].concat(), 599).to_string();
    assert!(one_second_early.ends_with("or try again in 1s"), "{one_second_early}");
}

#[test]
fn failed_replacements_count_and_a_clock_that_was_set_back_does_not() {
    let (running, wanted) = (candidate("1.0.0"), candidate("2.0.0"));
    let policy = UpgradePolicy::default().bound(2, Duration::from_mins(1));
    let failed = [record(100, "1.0.0", None), record(110, "1.0.0", None)];
    let decide = |now| policy.decide(&running, &wanted, &failed, at(now));
    assert!(
        decide(120)
            .to_string()
            .contains("2 replacements within 60s are the limit, and the last one, of version 1.0.0, failed"),
        "{}",
        decide(120)
    );
    let Decision::Refuse { reason: RefuseReason::TooMany { retry_after, .. }, .. } = decide(120) else {
        panic!("{}", decide(120))
    };
    assert_eq!(retry_after, Duration::from_secs(40));
    assert!(matches!(decide(160), Decision::Replace { .. }));
    assert!(matches!(decide(50), Decision::Replace { .. }));
}

#[test]
fn no_replacement_and_the_most_can_be_asked_for() {
    let (running, wanted) = (candidate("1.0.0"), candidate("2.0.0"));
    let none = UpgradePolicy::default().bound(0, Duration::from_mins(1));
    assert_eq!(
        none.decide(&running, &wanted, &[], at(0)).to_string(),
        "the daemon of version 1.0.0 is not replaced by version 2.0.0, which this client wants: 0 replacements within 60s are the \
         limit; use one version in all clients, or try again in 60s"
    );
    let most = UpgradePolicy::default().bound(u32::MAX, Duration::MAX);
    assert_eq!(most, UpgradePolicy::default().bound(MAX_BOUND, Duration::MAX));
    let records: Vec<_> = (0..u64::from(MAX_BOUND)).map(|second| record(second, "1.0.0", None)).collect();
    assert!(matches!(most.decide(&running, &wanted, &records, at(100)), Decision::Refuse { .. }));
    assert!(matches!(most.decide(&running, &wanted, &records[1..], at(100)), Decision::Replace { .. }));
}

#[test]
fn a_policy_keeps_the_way_in_which_it_replaces() {
    assert_eq!(UpgradePolicy::default().replacement(), Replacement::default());
    let stops = UpgradePolicy::default().by(Replacement::StopThenStart);
    assert_eq!(stops.replacement(), Replacement::StopThenStart);
}

fn version() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[0-2](\\.[0-2]){0,2}(-[01a](\\.[01a])?)?(\\+[ab])?",
        1 => "[0-2a.+-]{0,4}",
        1 => Just(String::new()),
    ]
}

fn replaces(policy: &UpgradePolicy, running: &str, wanted: &str, records: &[ReplacementRecord]) -> bool {
    matches!(
        policy.decide(&candidate(running), &candidate(wanted), records, at(1000)),
        Decision::Replace { .. }
    )
}

proptest! {
    #[test]
    fn of_two_clients_at_most_one_replaces(one in version(), other in version()) {
        let policy = UpgradePolicy::default();
        prop_assert!(!(replaces(&policy, &one, &other, &[]) && replaces(&policy, &other, &one, &[])));
        prop_assert!(!replaces(&policy, &one, &one, &[]));
        prop_assert!(!replaces(&UpgradePolicy::own_version(), &one, &one, &[]));
    }

    /// Clients in any order replace each version at most once: the daemon never comes back to a version that it had.
    #[test]
    fn no_order_of_clients_makes_a_cycle(
        clients in proptest::collection::vec(version(), 1..5),
        turns in proptest::collection::vec(any::<proptest::sample::Index>(), 1..60),
    ) {
        let policy = UpgradePolicy::default();
        let mut seen = vec![String::new()];
        for turn in turns {
            let wanted = &clients[turn.index(clients.len())];
            let running = seen.last().unwrap();
            if replaces(&policy, running, wanted, &[]) {
                prop_assert!(!seen.contains(wanted), "{:?} after {:?}", wanted, seen);
                seen.push(wanted.clone());
            }
        }
    }

    /// Clients that each want exactly their own version replace the daemon as often as the bound allows, and no more.
    #[test]
    fn clients_that_take_turns_reach_the_bound(count in 0_u32..6, turns in 0_usize..20) {
        let policy = UpgradePolicy::own_version().bound(count, Duration::from_mins(10));
        let (mut running, mut records) = ("1.0.0", Vec::new());
        for turn in 0..turns {
            let wanted = if turn % 2 == 0 { "2.0.0" } else { "1.0.0" };
            if replaces(&policy, running, wanted, &records) {
                records.push(record(1000, running, Some(wanted)));
                running = wanted;
            }
        }
        prop_assert_eq!(records.len(), turns.min(count as usize));
    }

    #[test]
    fn the_quick_answer_is_the_one_of_the_versions(running in version(), wanted in version()) {
        for policy in [UpgradePolicy::default(), UpgradePolicy::own_version(), UpgradePolicy::never()] {
            let (daemon, client) = (candidate(&running), candidate(&wanted));
            let wish = policy.wish(daemon.release.named(), client.release.named());
            prop_assert_eq!(wish.is_ok(), replaces(&policy, &running, &wanted, &[]));
        }
    }
}
