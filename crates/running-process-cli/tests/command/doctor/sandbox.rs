//! A process that may not do what others may.

use super::machine::Machine;
use landlock::{AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, path_beneath_rules};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

/// Runs `work` in a thread of its own that `restrict` puts into a sandbox, with all processes that it starts.
fn restricted<T: Send>(restrict: impl FnOnce() + Send, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let restricted = scope.spawn(|| {
            restrict();
            work()
        });
        restricted.join().unwrap()
    })
}

/// Lets a system call fail with `error`: all of them, or those whose first argument is `argument`.
fn forbid(call: libc::c_long, argument: Option<u64>, error: libc::c_int) {
    let condition = |argument| {
        let equals = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, argument).unwrap();
        SeccompRule::new(vec![equals]).unwrap()
    };
    let rules = BTreeMap::from([(call, argument.map(condition).into_iter().collect())]);
    let action = SeccompAction::Errno(u32::try_from(error).unwrap());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

#[test]
fn a_sandbox_that_forbids_connecting_or_all_sockets_is_told_as_one() {
    let machine = Machine::new();
    machine.services.start(&machine.cache(""));
    let connecting = || forbid(libc::SYS_connect, None, libc::EACCES);
    let finding = restricted(connecting, || machine.finds("sandbox"));
    assert!(finding["what"].as_str().unwrap().contains("sandbox"), "{finding}");
    assert!(finding["what"].as_str().unwrap().ends_with("(seccomp) restricts this command"), "{finding}");
    let sockets = || forbid(libc::SYS_socket, Some(libc::AF_UNIX.cast_unsigned().into()), libc::EPERM);
    let finding = restricted(sockets, || machine.finds("sandbox"));
    assert!(finding["what"].as_str().unwrap().contains("not available"), "{finding}");
    machine.lacks("sandbox");
}

#[test]
fn a_sandbox_that_hides_the_files_is_told_as_one() {
    let machine = Machine::new();
    machine.services.start(&machine.cache(""));
    let executable = Path::new(env!("CARGO_BIN_EXE_running-process")).parent().unwrap();
    let readable = [
        Path::new("/dev"),
        Path::new("/usr"),
        Path::new("/lib"),
        Path::new("/lib64"),
        Path::new("/etc"),
        Path::new("/proc"),
        executable,
    ];
    let readable = readable.map(Path::to_owned).into_iter().chain([machine.file().into()]);
    let hide = || {
        let ruleset = Ruleset::default().handle_access(AccessFs::ReadFile).unwrap().create().unwrap();
        let rules = path_beneath_rules(readable, AccessFs::ReadFile);
        let status = ruleset.add_rules(rules).unwrap().restrict_self().unwrap();
        if status.ruleset == RulesetStatus::NotEnforced {
            eprintln!("skipped: this kernel has no Landlock");
        }
        status.ruleset != RulesetStatus::NotEnforced
    };
    let finding = thread::scope(|scope| {
        let restricted = scope.spawn(|| hide().then(|| machine.finds("sandbox")));
        restricted.join().unwrap()
    });
    if let Some(finding) = finding {
        assert_eq!(finding["path"], machine.place("identity.json").display().to_string());
    }
}

#[test]
fn a_file_system_without_locks_is_told_as_one() {
    let (machine, _) = Machine::stopped();
    // As NFS without its lock daemon.
    let locks = || forbid(libc::SYS_flock, None, libc::ENOLCK);
    restricted(locks, || machine.finds("no_locks"));
}

#[test]
fn a_file_system_without_sockets_is_told_by_the_daemon_that_could_not_listen() {
    let machine = Machine::new();
    let file = machine.cache("");
    // As drvfs of WSL.
    let binding = || forbid(libc::SYS_bind, None, libc::EOPNOTSUPP);
    restricted(binding, || assert_eq!(machine.services.run(&["start", "--file", &file]).status, 1));
    machine.finds("no_sockets");
}
