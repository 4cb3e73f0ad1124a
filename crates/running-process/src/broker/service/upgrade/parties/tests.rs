//! The program of a daemon that runs, and the one that a client names.
#![cfg(unix)]

use super::*;
use crate::broker::backend_lifecycle::identity::Origin;
use crate::broker::protocol;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

/// A directory with programs, and the history of a service.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn program(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn service(&self, program: &Path) -> Service {
        Service::new("shout")
            .unwrap()
            .below(self.path("services"))
            .version("2.0.0")
            .command(program, ["serve"])
    }

    fn decision(&self, service: &Service, daemon: &DaemonProcess) -> Decision {
        let paths = ServicePaths::of(service).unwrap();
        assert!(paths.directory().starts_with(self.path("services")));
        service.upgrade(&paths, daemon).decision
    }

    /// Returns whether a client that names `program` replaces the daemon.
    fn replaces(&self, program: &Path, daemon: &DaemonProcess) -> bool {
        let decision = self.decision(&self.service(program), daemon);
        let is_elsewhere = matches!(
            &decision,
            Decision::Keep {
                reason: super::super::KeepReason::Obstacle(super::super::Obstacle::OtherProgram { .. }),
                ..
            }
        );
        let is_replaced = matches!(decision, Decision::Replace { .. });
        assert!(is_replaced || is_elsewhere, "{decision}");
        is_replaced
    }

    /// Records that process 7, started at 300, is the daemon that a client has started from `program`.
    fn record(&self, program: &Path) {
        let paths = ServicePaths::of(&self.service(program)).unwrap();
        paths.make().unwrap();
        let mut history = History::default();
        history.begin(SystemTime::now());
        history.runs_program(Some(program));
        history.runs(7, Some(300));
        history.serves();
        history.write(&paths).unwrap();
    }
}

/// Returns the identity of process 7 with the image `exe_path`, which was started at `start_time`.
fn daemon(exe_path: &Path, start_time: u64) -> DaemonProcess {
    let message = protocol::DaemonProcess {
        pid: 7,
        exe_path: exe_path.to_str().unwrap().to_owned(),
        exe_sha256: vec![1; 32],
        boot_id: "b".into(),
        ipc_endpoint: Some(protocol::Endpoint::unix_socket("shout", "/run/shout").unwrap()),
        ..protocol::DaemonProcess::default()
    };
    let mut daemon = DaemonProcess::try_from(message).unwrap().with_version("1.0.0").unwrap();
    let instance_id = [0; 16];
    daemon.origin = Some(Origin { start_time, instance_id, pid_namespace: None, inherited_listener: false });
    daemon
}

#[test]
fn the_path_of_the_image_decides_about_a_daemon_that_no_client_has_started() {
    let place = Place::new();
    let (program, other) = (place.program("bin/shout"), place.program("other/shout"));
    let link = place.path("shout");
    symlink(&program, &link).unwrap();
    for named in [&program, &link] {
        assert!(place.replaces(named, &daemon(&program, 300)), "{named:?}");
        assert!(!place.replaces(named, &daemon(&other, 300)), "{named:?}");
        // It was replaced before the daemon had read its own path.
        let deleted = PathBuf::from(format!("{} (deleted)", program.display()));
        assert!(place.replaces(named, &daemon(&deleted, 300)), "{named:?}");
    }
    assert!(!place.replaces(&other, &daemon(&program, 300)));
}

#[test]
fn a_private_copy_is_the_program_that_it_was_copied_from() {
    let place = Place::new();
    let (program, other) = (place.program("bin/shout"), place.program("bin/whisper"));
    let copy = place.program("services/shout/bin/5f-1/shout");
    assert!(place.replaces(&program, &daemon(&copy, 300)));
    assert!(!place.replaces(&other, &daemon(&copy, 300)));
    assert!(!place.replaces(&program, &daemon(&place.program("copies/shout"), 300)));
}

#[test]
fn the_path_that_the_starting_client_named_decides_if_it_is_recorded_for_this_process() {
    let place = Place::new();
    let (old, new) = (place.program("1.0/shout"), place.program("2.0/shout"));
    let link = place.path("shout");
    symlink(&old, &link).unwrap();
    place.record(&link);
    fs::remove_file(&link).unwrap();
    symlink(&new, &link).unwrap();
    assert!(place.replaces(&link, &daemon(&old, 300)));
    // The link leads there today.
    assert!(place.replaces(&new, &daemon(&old, 300)));
    // The image is there.
    assert!(place.replaces(&old, &daemon(&old, 300)));
    assert!(!place.replaces(&place.program("other"), &daemon(&old, 300)));
    // The record is of another process.
    assert!(!place.replaces(&link, &daemon(&old, 301)));
    // The image of a script is its interpreter.
    let script = place.program("script");
    place.record(&script);
    assert!(place.replaces(&script, &daemon(Path::new("/bin/sh"), 300)));
    assert!(!place.replaces(&place.program("other"), &daemon(Path::new("/bin/sh"), 300)));
}

#[test]
fn a_program_that_is_not_there_replaces_nothing() {
    let place = Place::new();
    let missing = place.path("missing");
    for service in [
        place.service(&missing),
        place.service(&missing).upgrade_policy(super::super::UpgradePolicy::default().any_path(true)),
    ] {
        let decision = place.decision(&service, &daemon(&missing, 300)).to_string();
        assert!(decision.ends_with("but it has no program to start"), "{decision}");
    }
}

#[test]
fn a_mark_changes_with_the_file_and_the_arguments() {
    let place = Place::new();
    let program = place.program("shout");
    let mark = || place.service(&program).mark(&program).unwrap();
    let first = mark();
    assert_eq!(mark(), first);
    assert_ne!(
        place.service(&program).command(&program, ["serve", "-v"]).mark(&program),
        Some(first.clone())
    );
    let moved = place.path("aside");
    fs::rename(&program, &moved).unwrap();
    let link = place.path("link");
    symlink(&moved, &link).unwrap();
    assert_ne!(place.service(&link).mark(&link), Some(first.clone()));
    place.program("shout");
    assert_ne!(mark(), first);
    assert_eq!(place.service(&program).mark(&place.path("missing")), None);
}

#[test]
fn versions_that_settle_it_read_no_file() {
    let place = Place::new();
    let program = place.program("shout");
    let daemon = |version: &str| daemon(&program, 300).with_version(version).unwrap();
    let service = place.service(&program);
    for (version, wants_other) in
        [("2.0.0", false), ("2.0", false), ("3.0.0", false), ("x", false), ("1.0.0", true), ("", true)]
    {
        assert_eq!(service.wants_other(&daemon(version)), wants_other, "{version}");
        assert!(
            wants_other || !matches!(place.decision(&service, &daemon(version)), Decision::Replace { .. })
        );
    }
}
