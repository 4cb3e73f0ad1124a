use super::*;
use crate::broker::service::upgrade::Release;
use std::time::Duration;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn replacements() -> [ReplacementRecord; 2] {
    let (old, new) = (Release::new("1.0", ""), Release::new("2.0", "4f2a91c"));
    [
        ReplacementRecord::new(at(90), Release::default(), old.clone(), Some(old.clone())),
        ReplacementRecord::new(at(95), old, new, None).mark(Some("0123456789abcdef".to_owned())),
    ]
}

fn exited() -> StartFailure {
    StartFailure { end: StartEnd::Exited { status: 3 }, log: "no such port\n".to_owned() }
}

#[test]
fn a_history_survives_its_file() {
    let mut history = History::default();
    history.begin(at(100));
    history.runs(4711, Some(815));
    history.runs_program(Some(Path::new("/usr/bin/shout")));
    for record in replacements() {
        history.replaced(record);
    }
    for _ in 0..4 {
        history.failed(exited(), at(101));
    }
    assert_eq!(History::from_json(&history.to_json(Some("a workspace"))), history);
    for end in [
        StartEnd::NotRun { error: "no such file".to_owned() },
        StartEnd::Signaled { signal: 9 },
        StartEnd::Ended,
        StartEnd::Abandoned,
        StartEnd::Silent { status: "loading".to_owned() },
        StartEnd::Crashed,
    ] {
        let failure = StartFailure { end, log: String::new() };
        assert_eq!(failure_from_json(&failure_to_json(&failure)), Some(failure));
    }
}

#[test]
fn the_third_failure_in_a_row_begins_a_pause() {
    let mut history = History::default();
    history.failed(exited(), at(100));
    history.failed(exited(), at(100));
    assert_eq!(history.backs_off(at(100)), None);
    history.failed(exited(), at(100));
    assert_eq!(history.backs_off(at(100)), Some(at(101)));
    assert_eq!(history.failed_at(), Some(at(100)));
    assert_eq!(history.backs_off(at(101)), None);
}

#[test]
fn a_clock_that_was_set_back_ends_the_pause() {
    let mut history = History::default();
    (0..5).for_each(|_| history.failed(exited(), at(10_000)));
    assert!(history.backs_off(at(10_001)).is_some());
    assert_eq!(history.backs_off(at(5_000)), None);
}

#[test]
fn a_crash_counts_only_soon_after_the_start() {
    let mut history = History::default();
    history.begin(at(100));
    history.serves();
    history.crashed(at(110), String::new());
    assert_eq!(history.failures, 1);
    history.crashed(at(111), String::new());
    assert_eq!(history.failures, 1, "it was counted already");
    history.begin(at(200));
    history.serves();
    history.crashed(at(300), String::new());
    assert_eq!((history.failures, history.failure), (0, None));
}

#[test]
fn a_start_that_nobody_saw_fail_counts() {
    let mut history = History::default();
    history.begin(at(100));
    history.left_nothing(at(101), || "log".to_owned());
    assert_eq!((history.failures, history.stage), (1, Stage::Over));
    history.left_nothing(at(102), String::new);
    assert_eq!(history.failures, 1);
    assert_eq!(history.failure_since(1), None);
    history.begin(at(103));
    history.serves();
    history.left_nothing(at(104), String::new);
    assert_eq!((history.failures, history.failure), (0, None));
}

#[test]
fn damaged_files_are_an_empty_history() {
    for text in ["{}", "[]", "null", r#"{"start":"x","failures":-1,"failure":{"end":7}}"#] {
        assert_eq!(History::from_json(&serde_json::from_str(text).unwrap()), History::default(), "{text}");
    }
}

#[test]
fn the_last_replacements_are_kept_and_a_start_forgets_none() {
    let mut history = History::default();
    for second in 0..100 {
        history.replaced(ReplacementRecord { at: at(second), ..replacements()[0].clone() });
    }
    history.begin(at(101));
    history.settled();
    let kept: Vec<_> = history.replacements.iter().map(|record| record.at).collect();
    assert_eq!(kept, (100 - u64::from(MAX_BOUND)..100).map(at).collect::<Vec<_>>());
}

#[test]
fn the_largest_history_fits_the_file() {
    let text = "\"".repeat(128);
    let release = Release::new(&text, &text);
    let mut history = History { program: Some("\"".repeat(4096)), ..History::default() };
    let log = "\u{1}".repeat(2048);
    history.failed(StartFailure { end: StartEnd::NotRun { error: "\"".repeat(5000) }, log }, at(1));
    for second in 0..u64::from(MAX_BOUND) {
        let record =
            ReplacementRecord::new(at(second), release.clone(), release.clone(), Some(release.clone()));
        history.replaced(record.mark(Some("0123456789abcdef".to_owned())));
    }
    let json = serde_json::to_vec_pretty(&history.to_json(Some(&text))).unwrap();
    assert!((json.len() as u64) < MAX_BYTES, "{}", json.len());
}
