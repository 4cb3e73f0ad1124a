use super::*;
use crate::broker::service::definition::Service;
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

#[test]
fn a_start_has_the_next_number_and_its_stage_survives_the_file() {
    let mut history = History::default();
    let read_again = |history: &History| History::from_json(&history.to_json(None));
    history.begin(at(100));
    assert_eq!((history.start, read_again(&history).stage), (1, Stage::Starting));
    history.serves();
    assert_eq!(read_again(&history).stage, Stage::Served);
    history.begin(at(200));
    history.failed(exited(), at(201));
    assert_eq!((history.start, read_again(&history).stage), (2, Stage::Over));
}

#[test]
fn a_client_learns_of_the_failure_of_the_start_that_it_awaited_or_of_a_later_one() {
    let mut history = History { start: 7, ..History::default() };
    history.failed(exited(), at(100));
    assert_eq!(history.failure_since(6), Some(&exited()));
    assert_eq!(history.failure_since(7), Some(&exited()));
    assert_eq!(history.failure_since(8), None);
}

#[test]
fn a_daemon_has_settled_after_a_minute() {
    for (age, failures) in [(59, 1), (60, 0)] {
        let mut history = History::default();
        history.begin(at(100));
        history.serves();
        history.crashed(at(100 + age), String::new());
        assert_eq!(history.failures, failures, "{age} seconds");
    }
}

#[test]
fn the_file_has_the_key_as_text() {
    let root = tempfile::tempdir().unwrap();
    let service = Service::new("keyed").unwrap().below(root.path().join("root"));
    for (service, key) in [(service.clone(), Value::Null), (service.keyed_by("/srv/ä"), "/srv/ä".into())] {
        let paths = ServicePaths::of(&service).unwrap();
        paths.make().unwrap();
        History::default().write(&paths).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(paths.history()).unwrap()).unwrap();
        assert_eq!(written["key"], key);
    }
}

#[test]
fn a_silent_start_is_told_with_the_last_status() {
    let told = |status: &str| StartEnd::Silent { status: status.to_owned() }.to_string();
    assert_eq!(told(""), "the daemon was silent for too long");
    assert_eq!(told("loading"), "the daemon was silent for too long after \"loading\"");
}
