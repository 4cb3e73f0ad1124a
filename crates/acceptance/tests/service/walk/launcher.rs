//! The deaths of the processes between the starter and the daemon's program, before each of their system calls.

use super::bed::{Bed, finish, walk};
use super::daemons::assert_served_or_killed;
use super::deaths::NOWHERE;
use super::trace::{Call, calls, can_interfere, is_complete, record, words};
use crate::harness::{Running, has_ended, served_by, state_of};
use running_process_acceptance::{installed, soon};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, fs};

/// Microseconds for which a call is held, for the test to kill a process, and the time after which it surely is held.
const HOLD: &str = "delay_enter=400000";
const HELD: Duration = Duration::from_millis(60);
/// The words for strace that follow the processes of the starter until they execute a program.
const FOLLOW: [&str; 3] = ["-f", "-b", "execve"];

/// A process between the starter and the daemon's program. It executes no program, so it cannot be selected by its calls alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// The launcher, or the process in its place on a kernel that needs none.
    Parent,
    /// The daemon before it executes its program.
    Child,
}

/// One death.
struct Case {
    call: Call,
    /// The process that is held at the call.
    held: Between,
    /// The process that is killed meanwhile.
    killed: Between,
    /// The system claims to be one that needs a launcher.
    old_kernel: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, held, killed, old_kernel } = self;
        write!(formatter, "{killed:?} killed, {held:?} held, old kernel {old_kernel}, {call}")
    }
}

/// Returns the command that starts a daemon under strace.
fn starter(bed: &Bed, tracer: &[String], old_kernel: bool) -> Command {
    let command = bed.client("ensure", &[words(&FOLLOW), tracer.to_vec()].concat(), &[]);
    if !old_kernel {
        return command;
    }
    let mut older = Command::new("setarch");
    older.arg("--uname-2.6").arg(command.get_program()).args(command.get_args());
    older.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    older.stdin(Stdio::null()).stderr(Stdio::piped());
    older
}

/// Returns all deaths on one kind of kernel, or a half of them unless the walk is complete.
fn cases(old_kernel: bool) -> Vec<Case> {
    let bed = Bed::with_remembered_digest();
    let log = bed.bench.path("log");
    let result = finish(Running::start(&mut starter(&bed, &record(&log), old_kernel))).unwrap();
    bed.call("stop");
    let log = fs::read_to_string(log).unwrap();
    let (starter, daemon) = (result["client"].as_u64().unwrap(), u64::from(served_by(&result)));
    let of_parent = calls(log.lines(), |thread| ![starter, daemon].contains(&thread.into()));
    let of_child = calls(log.lines(), |thread| u64::from(thread) == daemon);
    // Most of the child's calls reset signals.
    let is_interesting = |call: &Call| call.name != "rt_sigaction" || call.nth % 32 == 1;
    let of_child: Vec<_> = of_child.into_iter().filter(is_interesting).collect();
    let case = |held, killed| move |call: Call| Case { call, held, killed, old_kernel };
    let parents = of_parent.into_iter().map(case(Between::Parent, Between::Parent));
    let children = of_child.clone().into_iter().map(case(Between::Child, Between::Child));
    let orphans = of_child.into_iter().map(case(Between::Child, Between::Parent));
    let step = if is_complete() { 1 } else { 2 };
    parents.chain(children).chain(orphans).step_by(step).collect()
}

#[test]
fn the_processes_between_starter_and_daemon_may_die_at_each_system_call() {
    if !can_interfere() {
        return;
    }
    walk("between starter and daemon", &cases(false), die_held);
}

#[test]
fn the_launcher_and_its_child_may_die_at_each_system_call() {
    if !can_interfere() || !installed("setarch", &["--version"]) {
        return;
    }
    walk("launcher", &cases(true), die_held);
}

/// Starts a daemon, and kills a process while one is held. Returns whether it came to that.
fn die_held(case: &Case) -> bool {
    let bed = Bed::new();
    let client =
        Running::start(&mut starter(&bed, &case.call.inject(HOLD, Path::new(NOWHERE)), case.old_kernel));
    let strace = client.child.id();
    let deadline = soon();
    let mut is_killed = false;
    let mut held: Option<(u32, String, Instant)> = None;
    while !is_killed && Instant::now() < deadline && !has_ended(strace) {
        let parent = child_of(strace).and_then(child_of);
        let process = |which| match which {
            Between::Parent => parent,
            Between::Child => parent.and_then(child_of),
        };
        let now = process(case.held).and_then(|process| Some((process, held_call(process)?)));
        match (now, &held) {
            (Some((process, call)), Some((before, earlier, since)))
                if (process, &call) == (*before, earlier) =>
            {
                if since.elapsed() >= HELD
                    && let Some(killed) = process_to_kill(case, process, parent)
                {
                    // It is stopped, or waits for its child that is.
                    kill_process(killed, Signal::KILL).unwrap();
                    is_killed = true;
                }
            }
            (now, _) => held = now.map(|(process, call)| (process, call, Instant::now())),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let result = finish(client).expect("the starter lives");
    assert_served_or_killed(&result);
    let is_served = result["error"].is_null();
    assert!(is_served || case.killed == Between::Child, "{result}");
    bed.assert_heals();
    is_killed
}

fn process_to_kill(case: &Case, held: u32, parent: Option<u32>) -> Option<Pid> {
    let pid = if case.killed == case.held { held } else { parent? };
    Pid::from_raw(pid.cast_signed())
}

/// Returns the only child of the process.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}

/// Returns the system call at which the process is stopped by its tracer.
fn held_call(pid: u32) -> Option<String> {
    let is_stopped = state_of(pid)? == 't';
    is_stopped.then(|| fs::read_to_string(format!("/proc/{pid}/syscall")).ok())?
}
