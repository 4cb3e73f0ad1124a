//! Files and directories that are not what the library would make: refused or replaced, in bounded time, and nothing followed.

use crate::harness::{Bench, Running, is_root, result, served_by};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

const VICTIM: &str = "a file of the user";

/// Things that stand where a file of the library should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Text(&'static str),
    Gigabyte,
    Fifo,
    Symlink,
    Directory,
    Foreign,
    Mode(u32),
}

impl Thing {
    fn put(self, bench: &Bench, path: &Path) {
        // It may not be there.
        let _ = fs::remove_file(path);
        match self {
            Self::Text(text) => fs::write(path, text).unwrap(),
            Self::Gigabyte => fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
            Self::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
            Self::Symlink => {
                fs::write(bench.path("victim"), VICTIM).unwrap();
                symlink(bench.path("victim"), path).unwrap();
            }
            Self::Directory => fs::create_dir(path).unwrap(),
            Self::Foreign => {
                fs::write(path, "{}").unwrap();
                chown(path, Some(65534), Some(65534)).unwrap();
            }
            Self::Mode(mode) => {
                fs::write(path, "{}").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }

    /// Checks that it is still there.
    #[track_caller]
    fn assert_untouched(self, path: &Path) {
        let found = path.symlink_metadata().unwrap();
        let kind = found.file_type();
        match self {
            Self::Text(text) => assert_eq!(fs::read_to_string(path).unwrap(), text),
            Self::Gigabyte => assert_eq!(found.len(), 1 << 30),
            Self::Fifo => assert!(!kind.is_file() && !kind.is_dir() && !kind.is_symlink()),
            Self::Symlink => assert!(kind.is_symlink()),
            Self::Directory => assert!(kind.is_dir()),
            Self::Foreign => assert_eq!(found.uid(), 65534),
            Self::Mode(mode) => assert_eq!(found.mode() & 0o777, mode),
        }
    }
}

fn assert_victim_untouched(bench: &Bench, thing: Thing) {
    if thing == Thing::Symlink {
        assert_eq!(fs::read_to_string(bench.path("victim")).unwrap(), VICTIM);
    }
}

#[track_caller]
fn assert_at_once(result: &Value) {
    assert!(result["ms"].as_u64().unwrap() < 5000, "{result:#}");
}

/// Puts `thing` at the place of the file `name`, and returns what `ensure` says.
fn ensure_with(name: &str, thing: Thing) -> (Bench, Value) {
    let bench = Bench::new();
    bench.make_place();
    thing.put(&bench, &bench.place().join(name));
    let result = bench.ensure(&[], "serve");
    assert_at_once(&result);
    assert_victim_untouched(&bench, thing);
    (bench, result)
}

#[test]
fn what_is_no_socket_at_the_path_of_the_socket_is_refused_and_stays() {
    for thing in [Thing::Text("precious"), Thing::Fifo, Thing::Symlink, Thing::Directory] {
        let (bench, refused) = ensure_with("socket", thing);
        assert_eq!(refused["error"], "StartFailed", "{thing:?} {refused:#}");
        let log = refused["failure"]["log"].as_str().unwrap();
        assert!(log.contains("NotASocket"), "{thing:?} {log}");
        thing.assert_untouched(&bench.place().join("socket"));
        assert!(bench.daemons().is_empty());
    }
}

#[test]
fn what_is_no_lock_file_is_refused_and_stays() {
    for (thing, reason) in [
        (Thing::Fifo, "NotALock"),
        (Thing::Symlink, "NotALock"),
        (Thing::Directory, "NotALock"),
        (Thing::Foreign, "Lock"),
    ] {
        if thing == Thing::Foreign && !is_root() {
            continue;
        }
        let (bench, refused) = ensure_with("lock", thing);
        assert_eq!(refused["error"], "Find", "{thing:?} {refused:#}");
        assert_eq!(refused["reason"], json!(format!("Lock {reason}")), "{thing:?} {refused:#}");
        thing.assert_untouched(&bench.place().join("lock"));
        assert_eq!(bench.events("start"), 0);
    }
}

#[test]
fn a_history_of_starts_that_cannot_be_read_is_replaced() {
    let damaged = r#"{"start": 7, "failures": 9, "until_unix_ms": 99999999999999, "failure": {"#;
    let wrong = r#"{"start": -1, "failures": "many", "until_unix_ms": [], "stage": 3}"#;
    for thing in [
        Thing::Text(damaged),
        Thing::Text(wrong),
        Thing::Text(""),
        Thing::Gigabyte,
        Thing::Fifo,
        Thing::Symlink,
    ] {
        let (bench, ensured) = ensure_with("starts.json", thing);
        served_by(&ensured);
        let history = bench.place().join("starts.json");
        assert!(history.symlink_metadata().unwrap().is_file(), "{thing:?}");
        let history: Value = serde_json::from_slice(&fs::read(history).unwrap()).unwrap();
        assert_eq!((&history["start"], &history["stage"]), (&json!(1), &json!("served")), "{thing:?}");
    }
    let (bench, refused) = ensure_with("starts.json", Thing::Directory);
    assert_eq!(refused["error"], "Files", "{refused:#}");
    assert_eq!(bench.events("start"), 0);
}

#[test]
fn a_pause_far_in_the_future_is_not_believed() {
    // As a clock that was set back leaves it.
    let text = r#"{"start": 7, "failures": 9, "until_unix_ms": 99999999999999, "stage": "over"}"#;
    let (_bench, ensured) = ensure_with("starts.json", Thing::Text(text));
    served_by(&ensured);
}

#[test]
fn an_identity_file_that_others_may_have_written_is_refused_in_bounded_time() {
    let cases = [
        Thing::Fifo,
        Thing::Symlink,
        Thing::Directory,
        Thing::Gigabyte,
        Thing::Text("{\"pid\": 1"),
        Thing::Mode(0o666),
        Thing::Foreign,
    ];
    for thing in cases {
        if thing == Thing::Foreign && !is_root() {
            continue;
        }
        let (bench, refused) = ensure_with("identity.json", thing);
        assert_eq!(refused["error"], "Find", "{thing:?} {refused:#}");
        assert_eq!(refused["reason"], "IdentityFile", "{thing:?} {refused:#}");
        thing.assert_untouched(&bench.place().join("identity.json"));
        let found = bench.find();
        assert_eq!(found["reason"], "IdentityFile", "{thing:?} {found:#}");
        let refused = bench.stop(&[]);
        assert_eq!((&refused["error"], &refused["reason"]), (&json!("Find"), &json!("IdentityFile")));
        assert_eq!(bench.events("start"), 0);
    }
}

#[test]
fn a_log_that_is_no_regular_file_is_refused_and_stays() {
    for thing in [Thing::Fifo, Thing::Symlink, Thing::Directory] {
        let (bench, refused) = ensure_with("log", thing);
        assert_eq!(refused["error"], "Files", "{thing:?} {refused:#}");
        thing.assert_untouched(&bench.place().join("log"));
        assert_eq!(bench.events("start"), 0);
    }
}

#[test]
fn directories_that_others_may_enter_are_refused_and_never_repaired() {
    type Change = fn(&Path, &Bench);
    let changes: [(&str, Change); 4] = [
        ("NotPrivate", |path, _| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap()),
        ("NotPrivate", |path, _| fs::set_permissions(path, fs::Permissions::from_mode(0o720)).unwrap()),
        ("ForeignOwner", |path, _| chown(path, Some(65534), None).unwrap()),
        ("NotADirectory", |path, bench| {
            fs::rename(path, bench.path("elsewhere")).unwrap();
            symlink(bench.path("elsewhere"), path).unwrap();
        }),
    ];
    for (reason, change) in changes {
        if reason == "ForeignOwner" && !is_root() {
            continue;
        }
        for is_root_directory in [false, true] {
            let bench = Bench::new();
            bench.make_place();
            let path = if is_root_directory { bench.root() } else { bench.place() };
            change(&path, &bench);
            let before = path.symlink_metadata().unwrap();
            let refused = bench.ensure(&[], "serve");
            assert_eq!(refused["error"], "Find", "{refused:#}");
            assert_eq!(refused["reason"], json!(format!("Place {reason}")), "{refused:#}");
            let text = refused["text"].as_str().unwrap();
            assert!(text.contains("RUNNING_PROCESS_DIR") && text.contains(path.to_str().unwrap()), "{text}");
            let after = path.symlink_metadata().unwrap();
            assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
            assert_eq!(bench.events("start"), 0);
        }
    }
}

#[test]
fn a_root_that_is_not_absolute_or_cannot_be_made_is_refused() {
    let bench = Bench::new();
    let mut command = bench.plain_client("ensure", "serve");
    let refused = result(command.env("RUNNING_PROCESS_DIR", "relative/root"));
    assert_eq!(refused["reason"], "Place NotAbsolute", "{refused:#}");
    fs::write(bench.path("file"), "").unwrap();
    let mut command = bench.plain_client("ensure", "serve");
    let refused = result(command.env("RUNNING_PROCESS_DIR", bench.path("file").join("root")));
    assert_eq!(refused["reason"], "Place Unusable", "{refused:#}");
    assert_eq!(bench.events("start"), 0);
}

#[test]
fn a_root_whose_path_is_too_long_for_a_socket_works_as_any_other() {
    let bench = Bench::new();
    let long = bench.path(&"long".repeat(50));
    assert!(long.as_os_str().len() > 200);
    let client = |verb: &str| {
        let mut command = bench.plain_client(verb, "serve");
        command.env("RUNNING_PROCESS_DIR", &long);
        command
    };
    let daemon = served_by(&result(&mut client("ensure")));
    let (one, other) = (Running::start(&mut client("ensure")), Running::start(&mut client("ensure")));
    assert_eq!((served_by(&one.result()), served_by(&other.result())), (daemon, daemon));
    let identity: Value =
        serde_json::from_slice(&fs::read(long.join("svc").join("identity.json")).unwrap()).unwrap();
    let socket = identity["ipc_endpoint"]["path"].as_str().unwrap().to_owned();
    let sockets = Path::new(&socket).parent().unwrap();
    assert!(socket.len() < 108 && sockets.metadata().unwrap().mode() & 0o777 == 0o700, "{socket}");
    let stopped = result(&mut client("stop"));
    assert_eq!((&stopped["stopped"], &stopped["pid"]), (&json!("Ended"), &json!(daemon)), "{stopped:#}");
    assert!(!Path::new(&socket).exists());
    fs::remove_dir_all(sockets).unwrap();
}
