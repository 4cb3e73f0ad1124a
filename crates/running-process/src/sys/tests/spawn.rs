//! Daemons as real processes, started in each way that this system has.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Stdio;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

#[cfg(target_os = "linux")]
use super::super::ProcessHandle;
use super::super::{
    ProcessEnd, SpawnPlan, Spawned, session_of, spawn_by_launcher, spawn_detached, wait_ready,
};
use super::soon;
#[cfg(target_os = "linux")]
use crate::own_process;

pub(super) type Start = fn(&SpawnPlan<'_>) -> io::Result<Spawned>;
/// The second one is that of older kernels and of other systems.
pub(super) const WAYS: [Start; 2] = [spawn_detached, spawn_by_launcher];

/// The working directory of daemons, with their log.
pub(super) struct Place(tempfile::TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn file(&self, name: &str) -> File {
        File::options().append(true).create(true).open(self.path().join(name)).unwrap()
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap()
    }

    pub(super) fn start(
        &self,
        start: Start,
        program: &str,
        arguments: &[&str],
        lock: Option<&File>,
    ) -> io::Result<Spawned> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let environment = [("PATH", "/usr/bin:/bin"), ("EMPTY", ""), ("TEXT", "a=b c")];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        start(&SpawnPlan {
            program: Path::new(program),
            arguments: &arguments,
            environment: &environment,
            directory: self.path(),
            log: &self.file("log"),
            lock,
        })
    }

    pub(super) fn shell(&self, start: Start, script: &str) -> Spawned {
        self.start(start, "/bin/sh", &["-c", script], None).unwrap()
    }

    /// Returns what the daemon has written once it has exited with 0.
    fn output(&self, start: Start, script: &str, lock: Option<&File>) -> String {
        let _before = fs::remove_file(self.path().join("log"));
        let mut daemon = self.start(start, "/bin/sh", &["-c", script], lock).unwrap();
        assert_eq!(daemon.end(Some(soon())).unwrap(), Some(ProcessEnd::Exited(0)), "{}", self.log());
        self.log()
    }
}

/// Returns an error if this process has a child, whatever the child's signal. A zombie is one.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn no_child_at_all() -> bool {
    let mut found = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the place is exclusively borrowed.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, found.as_mut_ptr(), options) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD)
}

#[cfg(target_os = "linux")]
fn assert_passes(test: impl Fn()) {
    let mut command = own_process::command(test);
    own_process::assert_passed(&command.arg("--nocapture").stdin(Stdio::null()).output().unwrap());
}

#[test]
fn the_end_of_a_daemon_is_told() {
    let place = Place::new();
    for start in WAYS {
        for (script, end) in [
            ("exit 0", ProcessEnd::Exited(0)),
            ("exit 7", ProcessEnd::Exited(7)),
            ("exit 255", ProcessEnd::Exited(255)),
            ("kill -TERM $$", ProcessEnd::Signaled { signal: libc::SIGTERM, core: false }),
            ("kill -KILL $$", ProcessEnd::Signaled { signal: libc::SIGKILL, core: false }),
        ] {
            let mut daemon = place.shell(start, script);
            let mut readable = [PollFd::new(&daemon, PollFlags::IN)];
            assert!(wait_ready(&mut readable, Some(soon())).unwrap());
            assert_eq!(daemon.end(Some(Instant::now())).unwrap(), Some(end), "{script}");
            assert_eq!(daemon.end(None).unwrap(), Some(end));
            assert!(daemon.process().has_exited().unwrap());
        }
    }
}

#[test]
fn a_daemon_that_lives_has_not_ended_at_the_deadline() {
    let place = Place::new();
    for start in WAYS {
        let mut daemon = place.shell(start, "exec sleep 600");
        assert_eq!(daemon.end(Some(Instant::now())).unwrap(), None);
        assert!(!wait_ready(&mut [PollFd::new(&daemon, PollFlags::IN)], Some(Instant::now())).unwrap());
        assert_eq!(daemon.pid(), daemon.process().pid());
        daemon.process().kill().unwrap();
        let killed = ProcessEnd::Signaled { signal: libc::SIGKILL, core: false };
        assert_eq!(daemon.end(Some(soon())).unwrap(), Some(killed));
    }
}

#[test]
fn a_daemon_has_its_log_its_directory_and_its_environment() {
    let place = Place::new();
    for start in WAYS {
        let output = place.output(start, "pwd; echo error >&2; cat; echo \"$0 $#\"", None);
        let directory = fs::canonicalize(place.path()).unwrap();
        assert_eq!(output, format!("{}\nerror\n/bin/sh 0\n", directory.display()));
        let _before = fs::remove_file(place.path().join("log"));
        let mut daemon = place.start(start, "/usr/bin/env", &[], None).unwrap();
        assert_eq!(daemon.end(Some(soon())).unwrap(), Some(ProcessEnd::Exited(0)));
        assert_eq!(place.log(), "PATH=/usr/bin:/bin\nEMPTY=\nTEXT=a=b c\n");
    }
}

#[test]
fn a_daemon_leads_a_session_of_its_own() {
    let place = Place::new();
    for start in WAYS {
        let daemon = place.shell(start, "exec sleep 600");
        assert_eq!(session_of(daemon.pid()), Some(daemon.pid()));
        assert_ne!(session_of(std::process::id()), Some(daemon.pid()));
        daemon.process().kill().unwrap();
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_an_error() {
    let place = Place::new();
    let plain = place.path().join("plain");
    fs::write(&plain, "text").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let garbage = place.path().join("garbage");
    fs::write(&garbage, "text").unwrap();
    fs::set_permissions(&garbage, fs::Permissions::from_mode(0o755)).unwrap();
    for start in WAYS {
        for (program, errno) in [
            (Path::new("/nowhere/at/all"), libc::ENOENT),
            (&plain, libc::EACCES),
            (place.path(), libc::EACCES),
            (&garbage, libc::ENOEXEC),
        ] {
            let error = place.start(start, program.to_str().unwrap(), &[], None).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno), "{}", program.display());
        }
    }
}

#[test]
fn a_directory_that_cannot_be_entered_is_told_from_a_missing_program() {
    let place = Place::new();
    for start in WAYS {
        let error = start(&SpawnPlan {
            program: Path::new("/bin/sh"),
            arguments: &[],
            environment: &[],
            directory: Path::new("/nowhere/at/all"),
            log: &place.file("log"),
            lock: None,
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "the daemon's working directory could not be entered");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn strings_that_the_system_cannot_take_are_refused() {
    let place = Place::new();
    for (name, value) in [("", "value"), ("a=b", "value"), ("name", "a\0b"), ("a\0b", "value")] {
        let error = spawn_detached(&SpawnPlan {
            program: Path::new("/bin/sh"),
            arguments: &[],
            environment: &[(name.into(), value.into())],
            directory: place.path(),
            log: &place.file("log"),
            lock: None,
        })
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}={value}");
    }
}

#[test]
fn the_lock_is_held_by_the_daemon_alone() {
    for start in WAYS {
        let place = Place::new();
        let lock = place.file("lock");
        lock.try_lock().unwrap();
        let mut daemon = place.start(start, "/bin/sh", &["-c", "exec sleep 600"], Some(&lock)).unwrap();
        drop(lock);
        let other = place.file("lock");
        assert!(other.try_lock().is_err());
        daemon.process().kill().unwrap();
        assert!(daemon.end(Some(soon())).unwrap().is_some());
        // Neither the launcher nor anything else keeps it. Processes that other tests start have it until they execute their
        // programs.
        let deadline = soon();
        while other.try_lock().is_err() {
            assert!(Instant::now() < deadline, "the lock is still held");
            std::thread::yield_now();
        }
    }
}

#[test]
#[ignore = "started by the next test in a process of its own, which it leaves without standard descriptors"]
#[allow(unsafe_code)]
fn with_many_descriptors_open() {
    let place = Place::new();
    let lock = place.file("lock");
    let inherited = |number| {
        // SAFETY: the descriptor is open. Nothing in this process uses the number.
        assert_eq!(unsafe { libc::dup2(lock.as_raw_fd(), number) }, number);
    };
    (20..40).for_each(inherited);
    inherited(900);
    for start in WAYS {
        assert_eq!(place.output(start, "ls /proc/$$/fd", Some(&lock)), "0\n1\n2\n3\n");
        assert_eq!(place.output(start, "ls /proc/$$/fd", None), "0\n1\n2\n");
        let named = place.output(start, "readlink /proc/$$/fd/0 /proc/$$/fd/2 /proc/$$/fd/3", Some(&lock));
        let path = fs::canonicalize(place.path()).unwrap();
        assert_eq!(named, format!("/dev/null\n{0}/log\n{0}/lock\n", path.display()));
    }
    // Files that have the numbers which the daemon's get.
    for start in WAYS {
        let above = |standard: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(standard, 10).unwrap();
        let saved = [above(io::stdin().as_fd()), above(io::stdout().as_fd()), above(io::stderr().as_fd())];
        for number in 0..3 {
            // SAFETY: the standard descriptors are given back below.
            unsafe { libc::close(number) };
        }
        let (log, lock) = (place.file("log"), place.file("lock"));
        let numbers = (log.as_raw_fd(), lock.as_raw_fd());
        let output = place.output(start, "ls /proc/$$/fd; readlink /proc/$$/fd/3", Some(&lock));
        std::mem::forget((log, lock));
        for (number, saved) in (0..).zip(&saved) {
            // SAFETY: as above.
            unsafe { libc::dup2(saved.as_raw_fd(), number) };
        }
        assert_eq!(numbers, (0, 1));
        let path = fs::canonicalize(place.path()).unwrap();
        assert_eq!(output, format!("0\n1\n2\n3\n{}/lock\n", path.display()));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_daemon_has_no_other_descriptors() {
    assert_passes(with_many_descriptors_open);
}

#[test]
#[ignore = "started by the next test in a process of its own, whose signals it changes"]
#[allow(unsafe_code)]
#[cfg(target_os = "linux")]
fn with_signals_ignored_and_blocked() {
    extern "C" fn never(_signal: i32) {
        std::process::abort();
    }
    // SAFETY: this process runs one test, and the handler does what a handler may.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGPIPE, libc::SIGCHLD, libc::SIGRTMIN() + 3] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::signal(libc::SIGUSR1, never as extern "C" fn(i32) as libc::sighandler_t);
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        libc::umask(0o077);
    }
    let place = Place::new();
    for start in WAYS {
        let status = place.output(start, "exec cat /proc/self/status", None);
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        for set in ["SigIgn", "SigBlk", "SigPnd", "SigCgt"] {
            assert_eq!(of(set).trim_start_matches('0'), "", "{set}");
        }
        assert_eq!(of("Umask"), "0022");
        // With an ignored SIGCHLD, too.
        let mut failing = place.shell(start, "exit 3");
        assert_eq!(failing.end(Some(soon())).unwrap(), Some(ProcessEnd::Exited(3)));
        assert!(place.start(start, "/nowhere", &[], None).is_err());
    }
    // The starter's own are as before.
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(own.contains("Umask:\t0077") && !own.contains("SigBlk:\t0000000000000000"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_daemon_has_default_signals_and_no_mask() {
    assert_passes(with_signals_ignored_and_blocked);
}

#[test]
#[ignore = "started by the next test in a process of its own, which has no other children"]
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn with_no_other_child() {
    static CHILDREN: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
    extern "C" fn count(_signal: i32) {
        CHILDREN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    // SAFETY: this process runs one test, and the handler does what a handler may.
    unsafe { libc::signal(libc::SIGCHLD, count as extern "C" fn(i32) as libc::sighandler_t) };
    let place = Place::new();
    for start in WAYS {
        assert!(no_child_at_all());
        let mut daemon = place.shell(start, "exit 5");
        assert!(daemon.end(Some(soon())).unwrap().is_some());
        // A wait for any child, as a shell or an event loop of the program does.
        let any = rustix::process::waitid(
            rustix::process::WaitId::All,
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG,
        );
        assert_eq!(any.unwrap_err(), rustix::io::Errno::CHILD);
        drop(daemon);
        assert!(no_child_at_all());
        assert!(place.start(start, "/nowhere", &[], None).is_err());
        assert!(no_child_at_all());
        let daemon = place.shell(start, "exec sleep 600");
        let process = ProcessHandle::open(daemon.pid()).unwrap().unwrap();
        drop(daemon);
        assert!(no_child_at_all());
        assert!(!process.has_exited().unwrap());
        process.kill().unwrap();
    }
    assert_eq!(CHILDREN.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn the_starter_keeps_no_child_and_gets_no_signal() {
    assert_passes(with_no_other_child);
}
