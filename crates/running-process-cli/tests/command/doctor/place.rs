//! The directory of a service, and other places.

use super::machine::{Diagnosis, Machine, in_private_mounts, is_root, pid_of};
use crate::common::{Daemon, finish, text};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

#[test]
fn a_directory_that_is_not_this_users_alone_is_told_and_the_remedy_works() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("directory_not_private", |path| fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap()),
        ("directory_foreign", |path| chown(path, Some(65534), None).unwrap()),
        ("not_a_directory", |path| {
            fs::rename(path, path.with_extension("elsewhere")).unwrap();
            symlink(path.with_extension("elsewhere"), path).unwrap();
        }),
    ];
    for (id, change) in changes {
        if id == "directory_foreign" && !is_root() {
            continue;
        }
        for is_root_directory in [false, true] {
            let (machine, _) = Machine::stopped();
            let path = if is_root_directory {
                machine.services.root()
            } else {
                machine.services.root().join(&machine.name)
            };
            change(&path);
            let finding = machine.finds(id);
            assert_eq!(finding["path"], path.display().to_string());
            machine.follow(&finding);
            machine.lacks(id);
            machine.services.start(&machine.file());
        }
    }
}

#[test]
fn a_root_that_is_no_directory_is_told() {
    let machine = Machine::new();
    machine.cache("");
    fs::write(machine.services.path("file"), "").unwrap();
    for root in [machine.services.path("file/root"), "relative".into()] {
        machine.finds_by("no_place", |machine| {
            let mut doctor = machine.doctor();
            doctor.env("RUNNING_PROCESS_DIR", &root);
            doctor
        });
    }
}

#[test]
fn a_long_path_is_a_note_with_the_directory_of_the_sockets() {
    let machine = Machine::new();
    machine.cache("");
    let finding = machine.finds_by("long_path", |machine| {
        let mut doctor = machine.doctor();
        doctor.env("RUNNING_PROCESS_DIR", machine.services.path(&"long".repeat(50)));
        doctor
    });
    assert_eq!(finding["severity"], "note");
    assert!(finding["path"].as_str().unwrap().starts_with("/tmp/running-process-services-"), "{finding}");
}

#[test]
fn a_daemon_of_the_same_name_in_an_identity_file_of_the_environment_is_named() {
    let machine = Machine::new();
    machine.services.start(&machine.cache(""));
    let mut other = Daemon::start();
    let runtime = machine.services.path("runtime");
    fs::create_dir_all(runtime.join(&machine.name)).unwrap();
    fs::copy(other.identity_file(), runtime.join(&machine.name).join("daemon.json")).unwrap();
    let finding = machine.finds_by("second_identity_file", |machine| {
        let mut doctor = machine.doctor();
        doctor.env("XDG_RUNTIME_DIR", &runtime);
        doctor
    });
    assert_eq!(pid_of(&finding), other.child.id());
    machine.follow(&finding);
    other.child.wait().unwrap();
    let mut doctor = machine.doctor();
    let diagnosis = Diagnosis::of(doctor.env("XDG_RUNTIME_DIR", &runtime));
    assert!(
        diagnosis.findings.iter().all(|finding| finding["id"] != "second_identity_file"),
        "{diagnosis:#?}"
    );
}

/// Runs a script [in private mounts](in_private_mounts), in which `$1` is the service's file and `$2` a directory.
fn run_in_private_mounts(machine: &Machine, script: &str) -> String {
    let mut unshare = in_private_mounts(script);
    unshare.arg(machine.file()).arg(machine.services.path("mount"));
    fs::create_dir_all(machine.services.path("mount")).unwrap();
    let finished = finish(unshare.env("XDG_CONFIG_HOME", machine.services.path("configuration")));
    assert_eq!(finished.status, 0, "{finished:?}");
    finished.text().to_owned()
}

/// Returns the finding `id` among lines of JSON.
#[track_caller]
fn finding(lines: &str, id: &str) -> serde_json::Value {
    let objects = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    objects.into_iter().find(|object| object["id"] == id).unwrap_or_else(|| panic!("no {id} in {lines}"))
}

#[test]
fn a_file_system_that_is_full_or_cannot_be_written_is_told() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    machine.cache("");
    let full = run_in_private_mounts(
        &machine,
        "mount -t tmpfs -o size=64k,mode=700 none \"$2\"
        export RUNNING_PROCESS_DIR=\"$2\"
        head -c 100000 /dev/zero > \"$2/filler\" 2>/dev/null || true
        \"$0\" doctor --json --file \"$1\" || true",
    );
    let full = finding(&full, "disk_full");
    assert_eq!(full["remedy"], format!("df -h {0}; df -i {0}", text(&machine.services.path("mount"))));
    let read_only = run_in_private_mounts(
        &machine,
        "mount -t tmpfs -o ro,mode=700 none \"$2\"
        RUNNING_PROCESS_DIR=\"$2/root\" \"$0\" doctor --json --file \"$1\" || true",
    );
    finding(&read_only, "read_only");
}

#[test]
fn daemons_in_the_users_own_root_and_of_another_machine_id_are_second_places() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    machine.cache("");
    // The user database of these processes names another home directory.
    let script = |this: &str, other: &str| {
        format!(
            "home=\"$2\"; chmod 700 \"$2\"
            printf 'root:x:0:0:root:%s:/bin/sh\\n' \"$home\" > \"$2/passwd\"
            mount --bind \"$2/passwd\" /etc/passwd
            {other} \"$0\" start --json --file \"$1\"
            {this} \"$0\" doctor --json --file \"$1\" || true
            {other} \"$0\" stop --file \"$1\" >/dev/null
            {this} \"$0\" doctor --json --file \"$1\" | grep -c second_place || true"
        )
    };
    let other_machine = "RUNNING_PROCESS_DIR=\"$home/.local/state/running-process/0123456789abcdef\"";
    for (this, other) in [("RUNNING_PROCESS_DIR=\"$2/root\"", ""), ("", other_machine)] {
        let lines = run_in_private_mounts(&machine, &script(this, other));
        let started: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        let found = finding(&lines, "second_place");
        assert_eq!(found["pid"], started["pid"], "{lines}");
        assert_eq!(lines.lines().last(), Some("0"), "{lines}");
    }
}
