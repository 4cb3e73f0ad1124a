//! Clients in shells with other environments, users and namespaces, at the user's own place. All of it happens in a mount
//! namespace of the test's own, where the user's home directory is an empty one.

use crate::harness::{Bench, PROBE, Running, assert_state, await_that, is_root, result, served_by};
use running_process_acceptance::{copy_program, installed};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Users who have no files outside of these tests.
const NOBODY: u32 = 65534;
const OTHER_USER: u32 = 61234;

/// A mount namespace whose home directory of this user is empty, with a copy of the program.
struct Machine {
    bench: Bench,
    keeper: Running,
    home: PathBuf,
    program: PathBuf,
}

impl Machine {
    /// Returns `None`, and says why, if the system does not permit it.
    fn new() -> Option<Self> {
        if !is_root() || !installed("nsenter", &["--version"]) || !installed("setpriv", &["--version"]) {
            return None;
        }
        // Not below `/tmp`, which some of the shells have to themselves.
        let bench = Bench::below(Path::new("/var/tmp"));
        let program = bench.path("service-probe");
        copy_program(PROBE.as_ref(), &program, 0);
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(bench.directory.path(), Permissions::from_mode(0o711)).unwrap();
        fs::write(bench.path("events"), "").unwrap();
        fs::set_permissions(bench.path("events"), Permissions::from_mode(0o666)).unwrap();
        for (name, user) in [("nobody", NOBODY), ("home", OTHER_USER)] {
            fs::create_dir(bench.path(name)).unwrap();
            fs::set_permissions(bench.path(name), Permissions::from_mode(0o700)).unwrap();
            chown(bench.path(name), Some(user), Some(user)).unwrap();
        }
        let home = home_directory();
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let other =
            format!("svcother:x:{OTHER_USER}:{OTHER_USER}::{}:/bin/sh\n", bench.path("home").display());
        fs::write(bench.path("passwd"), users + &other).unwrap();
        fs::set_permissions(bench.path("passwd"), Permissions::from_mode(0o644)).unwrap();
        let script = r#"mount -t tmpfs -o mode=700 none "$0" && mount --bind "$1" /etc/passwd && echo ready && exec cat"#;
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        keeper.arg(&home).arg(bench.path("passwd")).stdin(Stdio::piped());
        let mut keeper = Running::start(&mut keeper);
        if keeper.line() != "ready\n" {
            eprintln!("skipped: this system permits no mount namespace");
            return None;
        }
        Some(Self { bench, keeper, home, program })
    }

    /// Returns a client in the namespace, behind `wrapper`.
    fn client(&self, wrapper: &[&str], verb: &str, plan: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.child.id())).arg("--");
        command.args(wrapper).arg(&self.program).args([verb, "name=svc", "timeout=10000", "--"]);
        command.arg(&self.program).args(self.bench.daemon_arguments(plan));
        // As in a shell at a login.
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &self.home);
        command.env("XDG_RUNTIME_DIR", "/run/user/0").env("TMPDIR", "/tmp").env("LANG", "C.UTF-8");
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    fn ensure(&self, wrapper: &[&str]) -> Value {
        result(&mut self.client(wrapper, "ensure", "serve"))
    }
}

/// Returns the home directory of this user in the user database.
fn home_directory() -> PathBuf {
    let user = rustix::process::geteuid().as_raw().to_string();
    let entry = Command::new("getent").args(["passwd", &user]).output().unwrap();
    let entry = String::from_utf8(entry.stdout).unwrap();
    entry.split(':').nth(5).unwrap().into()
}

/// Shells in which a client finds the daemon of all others.
const SHELLS: [(&str, &[&str]); 14] = [
    ("an empty environment", &["env", "-i"]),
    ("another TMPDIR", &["env", "TMPDIR=/var/tmp"]),
    ("no XDG_RUNTIME_DIR", &["env", "-u", "XDG_RUNTIME_DIR"]),
    ("other XDG directories", &["env", "XDG_RUNTIME_DIR=/run/other", "XDG_STATE_HOME=/var/tmp"]),
    ("another HOME", &["env", "HOME=/var/tmp/no-home-of-anyone"]),
    ("an empty override", &["env", "RUNNING_PROCESS_DIR="]),
    ("cron's", &["env", "-i", "HOME=/", "LOGNAME=root", "SHELL=/bin/sh", "PATH=/usr/bin:/bin"]),
    ("a session of its own", &["setsid", "--wait"]),
    ("another directory and mask", &["sh", "-c", r#"cd /usr && umask 0 && exec "$0" "$@""#]),
    ("no groups", &["setpriv", "--clear-groups"]),
    ("a mount namespace", &["unshare", "--mount"]),
    ("a private /tmp", &["unshare", "--mount", "sh", "-c", r#"mount -t tmpfs none /tmp && exec "$0" "$@""#]),
    ("a network namespace", &["unshare", "--net"]),
    ("namespaces of host name and IPC", &["unshare", "--uts", "--ipc"]),
];

#[test]
fn shells_with_other_environments_find_the_same_daemon_whichever_starts_it() {
    let Some(machine) = Machine::new() else { return };
    let daemon = served_by(&machine.ensure(&[]));
    let files = machine.bench.daemons();
    assert_eq!(files, [daemon]);
    for (name, wrapper) in SHELLS {
        let ensured = machine.ensure(wrapper);
        assert_eq!(ensured["pid"].as_u64(), Some(daemon.into()), "{name}: {ensured:#}");
    }
    assert_eq!(machine.bench.events("start"), 1);
    let mut last = daemon;
    for (name, wrapper) in SHELLS {
        let stopped = result(&mut machine.client(wrapper, "stop", "serve"));
        assert_eq!(stopped["pid"].as_u64(), Some(last.into()), "{name}: {stopped:#}");
        last = served_by(&machine.ensure(wrapper));
        assert_eq!(machine.ensure(&[])["pid"].as_u64(), Some(last.into()), "{name}");
    }
    assert_eq!(machine.bench.daemons(), [last]);
    machine.bench.assert_never_two();
}

#[test]
fn a_pid_namespace_has_its_own_verdict_and_never_a_second_daemon() {
    let Some(machine) = Machine::new() else { return };
    let daemon = served_by(&machine.ensure(&[]));
    let namespaces: [&[&str]; 2] =
        [&["unshare", "--pid", "--fork"], &["unshare", "--pid", "--fork", "--mount-proc"]];
    for wrapper in namespaces {
        let refused = machine.ensure(wrapper);
        assert_eq!(refused["error"], "NotInspectable", "{wrapper:?} {refused:#}");
        assert_eq!(refused["reason"], "OtherNamespace", "{wrapper:?} {refused:#}");
        let found = result(&mut machine.client(wrapper, "find", "serve"));
        assert_state(&found, "not inspectable", None);
        let refused = result(&mut machine.client(wrapper, "stop", "serve"));
        assert_eq!((&refused["error"], &refused["reason"]), (&"NotProven".into(), &"OtherNamespace".into()));
    }
    assert_eq!((machine.bench.daemons(), machine.bench.events("start")), (vec![daemon], 1));
}

#[test]
fn a_daemon_in_another_pid_namespace_is_not_inspectable_and_never_replaced() {
    let Some(machine) = Machine::new() else { return };
    // The first process of the namespace lives until its input ends, and the others with it.
    let stays = r#""$0" "$@"; exec cat"#;
    let wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", stays];
    let mut inside = Running::start(machine.client(&wrapper, "ensure", "serve").stdin(Stdio::piped()));
    served_by(&inside.first_result());
    let daemons = machine.bench.daemons();
    let refused = machine.ensure(&[]);
    assert_eq!((&refused["error"], &refused["reason"]), (&"NotInspectable".into(), &"OtherNamespace".into()));
    assert_eq!((machine.bench.daemons(), machine.bench.events("start")), (daemons, 1));
    // Its namespace ends, and the next client starts a daemon here.
    drop(inside.child.stdin.take());
    let found = || result(&mut machine.client(&[], "find", "serve"));
    await_that("end of the namespace", || found()["state"] == "stale");
    served_by(&machine.ensure(&[]));
}

#[test]
fn a_shell_that_may_not_examine_the_daemon_is_told_so_and_starts_none() {
    let Some(machine) = Machine::new() else { return };
    let daemon = served_by(&machine.ensure(&[]));
    // Without capabilities a process may not examine one that has some.
    let refused = machine.ensure(&["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
    assert_eq!(refused["error"], "NotInspectable", "{refused:#}");
    assert_eq!((machine.bench.daemons(), machine.bench.events("start")), (vec![daemon], 1));
}

#[test]
fn the_override_of_one_side_is_another_place_with_another_daemon() {
    let Some(machine) = Machine::new() else { return };
    let daemon = served_by(&machine.ensure(&[]));
    let root = format!("RUNNING_PROCESS_DIR={}", machine.bench.path("override").display());
    // Both daemons may run, so none of them claims to be alone.
    let ensure = |wrapper: &[&str]| served_by(&result(&mut machine.client(wrapper, "ensure", "keyed")));
    let other = ensure(&["env", &root]);
    assert_ne!(daemon, other);
    assert_eq!((ensure(&[]), ensure(&["env", &root])), (daemon, other));
    assert!(machine.bench.path("override").join("svc/identity.json").exists());
}

#[test]
fn another_user_has_a_daemon_of_its_own_or_is_told_that_it_has_no_home() {
    let Some(machine) = Machine::new() else { return };
    let daemon = served_by(&machine.ensure(&[]));
    let ensure = |wrapper: &[&str]| result(&mut machine.client(wrapper, "ensure", "keyed"));
    let as_user =
        |user: u32| [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
    // As `sudo -u` leaves it: the HOME is still that of the first user.
    let other = as_user(OTHER_USER);
    let mut wrapper = vec!["setpriv"];
    wrapper.extend(other.iter().map(String::as_str));
    let theirs = served_by(&ensure(&wrapper));
    assert_ne!(theirs, daemon);
    assert!(machine.bench.path("home/.local/state/running-process").exists());
    assert_eq!(served_by(&ensure(&wrapper)), theirs);
    assert_eq!(served_by(&ensure(&[])), daemon);
    // A stop by one user leaves the other's daemon alone.
    let stopped = result(&mut machine.client(&wrapper, "stop", "keyed"));
    assert_eq!(stopped["pid"].as_u64(), Some(theirs.into()), "{stopped:#}");
    assert_eq!(machine.bench.daemons(), [daemon]);

    // A user whose home directory does not exist.
    let nobody = as_user(NOBODY);
    let mut wrapper = vec!["setpriv"];
    wrapper.extend(nobody.iter().map(String::as_str));
    let refused = ensure(&wrapper);
    assert_eq!(
        (&refused["error"], &refused["reason"]),
        (&"Find".into(), &"Place Unusable".into()),
        "{refused:#}"
    );
    assert!(refused["text"].as_str().unwrap().contains("RUNNING_PROCESS_DIR"), "{refused:#}");
    let root = format!("RUNNING_PROCESS_DIR={}", machine.bench.path("nobody").display());
    wrapper.extend(["env", &root]);
    let theirs = served_by(&ensure(&wrapper));
    assert_eq!(served_by(&ensure(&wrapper)), theirs);
    // The root user does not use it, and does not stop it.
    let refused = ensure(&["env", &root]);
    assert_eq!(
        (&refused["error"], &refused["reason"]),
        (&"Find".into(), &"Place ForeignOwner".into()),
        "{refused:#}"
    );
}
