//! Handovers, with the test in the place of the process that starts the successor.

use crate::harness::{Bench, PROBE, Running, await_that};
use running_process_acceptance::TEST_TIMEOUT;
use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A service with its daemon, and the lock of a replacement.
struct Service {
    bench: Bench,
    old: u32,
    replacing: File,
}

impl Service {
    /// Starts the daemon by `plan`, and takes the lock.
    fn start(plan: &str) -> Self {
        let bench = Bench::new();
        let old = bench.served(&[], plan);
        let replacing = open_lock(bench.place().join("replacing"));
        replacing.try_lock().unwrap();
        Self { bench, old, replacing }
    }

    /// Starts a successor, which gets `lock` as that of the replacement.
    fn successor(&self, plan: &str, lock: &File) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 0</dev/null 2>>"$TEST_LOG""#, PROBE]);
        command.args(self.bench.daemon_arguments(plan)).stdin(Stdio::from(lock.try_clone().unwrap()));
        let variables = [("SERVICE", "svc"), ("HANDOVER", "1"), ("LOCK", "3")];
        command.envs(variables.map(|(name, value)| (format!("RUNNING_PROCESS_{name}"), value)));
        command
            .env("RUNNING_PROCESS_SERVICE_ROOT", self.bench.root())
            .env("XDG_CACHE_HOME", self.bench.path("cache"))
            .env("TEST_LOG", self.bench.path("stderr"));
        Running::start(&mut command)
    }

    /// Hands the service over to a daemon by `plan`, and returns that once it is the only one.
    #[track_caller]
    fn hand_over(&self, plan: &str) -> (u32, Running) {
        let readied = self.bench.events("ready");
        let successor = self.successor(plan, &self.replacing);
        let new = successor.child.id();
        assert_eq!(self.bench.await_event("ready", readied + 1), new, "{}", self.told());
        await_that("end of the old daemon", || self.bench.daemons() == [new]);
        assert_eq!(self.served(), new);
        (new, successor)
    }

    /// Ends the replacement once no daemon takes part in it any more. Clients wait for that before they start a daemon.
    fn give_up(&mut self) {
        self.replacing = File::open("/dev/null").unwrap();
    }

    /// Returns the daemon that serves now.
    #[track_caller]
    fn served(&self) -> u32 {
        self.bench.served(&[], "keyed")
    }

    /// Returns whether the process `pid` has the lock of the service open.
    fn holds_lock(&self, pid: u32) -> bool {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let lock = self.bench.place().join("lock");
        descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|path| path == lock)
    }

    fn control(&self) -> PathBuf {
        self.bench.place().join("control")
    }

    /// Returns what successors have told.
    fn told(&self) -> String {
        fs::read_to_string(self.bench.path("stderr")).unwrap_or_default()
    }

    /// Waits until the successor has ended with an error, and checks that the old daemon serves.
    #[track_caller]
    fn assert_failed(&self, mut successor: Running) {
        let status = successor.child.wait().unwrap();
        assert_eq!(status.code(), Some(75), "{}", self.told());
        assert_eq!(self.served(), self.old);
        assert_eq!(self.bench.daemons(), [self.old]);
    }

    /// Sends bytes with copies of `descriptors` to the control socket, and returns the answer.
    fn answer(&self, bytes: &[u8], descriptors: &[&File]) -> String {
        let mut stream = UnixStream::connect(self.control()).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn open_lock(path: PathBuf) -> File {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).unwrap()
}

const HELLO: &[u8] = &[1, 1, 0, 0];

#[test]
fn daemons_hand_over_again_and_again_and_leave_nothing_behind() {
    let service = Service::start("keyed");
    let mut daemons = vec![];
    for plan in ["keyed", "tokio", "tokio", "keyed"] {
        let (new, successor) = service.hand_over(plan);
        assert!(service.control().exists());
        daemons.push((new, successor));
    }
    let lock = open_lock(service.bench.place().join("lock"));
    assert!(lock.try_lock().is_err(), "the last one holds the first one's lock");
    service.bench.assert_stopped(daemons.last().unwrap().0);
    lock.try_lock().unwrap();
    let mut left: Vec<_> =
        fs::read_dir(service.bench.place()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "log", "replacing", "starts.json"]);
}

#[test]
fn a_successor_has_the_same_lock_and_socket_and_no_child_inherits_them() {
    let service = Service::start("keyed");
    let files = || ["lock", "socket"].map(|name| service.bench.place().join(name).metadata().unwrap().ino());
    let before = files();
    let (new, _running) = service.hand_over("keyed");
    assert_eq!(files(), before);
    assert_eq!(service.control().metadata().unwrap().mode() & 0o7777, 0o600);
    let mut locks = 0;
    for entry in fs::read_dir(format!("/proc/{new}/fd")).unwrap() {
        let number = entry.unwrap().file_name().into_string().unwrap();
        let Ok(information) = fs::read_to_string(format!("/proc/{new}/fdinfo/{number}")) else { continue };
        let file = fs::read_link(format!("/proc/{new}/fd/{number}")).unwrap_or_default();
        if file != service.bench.place().join("lock") && !file.starts_with("socket:") {
            continue;
        }
        let flags = information.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let is_inherited = u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 == 0;
        assert!(!is_inherited, "{}: {information}", file.display());
        locks += usize::from(information.contains("FLOCK"));
    }
    assert_eq!(locks, 1, "that of the service, and not that of the replacement");
}

#[test]
fn a_process_without_the_lock_of_the_replacement_is_no_successor() {
    let service = Service::start("keyed");
    let second = open_lock(service.bench.place().join("replacing"));
    service.assert_failed(service.successor("keyed", &second));
    let elsewhere = open_lock(service.bench.path("replacing"));
    service.assert_failed(service.successor("keyed", &elsewhere));
    service.hand_over("keyed");
}

#[test]
fn bytes_that_are_no_request_are_refused_and_nothing_is_passed() {
    let service = Service::start("keyed");
    let other = File::open(std::env::current_exe().unwrap()).unwrap();
    let unlocked = open_lock(service.bench.place().join("replacing"));
    for (bytes, descriptors, reason) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], vec![], "version 71"),
        (&[1, 9, 0, 0], vec![], "kind of a message is 9"),
        (&[1, 4, 0, 0], vec![], "Published came as the first message"),
        (HELLO, vec![], "0 descriptors came"),
        (HELLO, vec![&unlocked, &unlocked], "2 descriptors came"),
        (HELLO, vec![&other; 9], "too many descriptors"),
        (HELLO, vec![&other], "does not hold the lock of a replacement"),
        (HELLO, vec![&unlocked], "does not hold the lock of a replacement"),
    ] {
        let answer = service.answer(bytes, &descriptors);
        assert!(answer.starts_with("\u{1}\u{2}") && answer.contains(reason), "{reason}: {answer:?}");
    }
    // It goes away without a request, or in the middle of one.
    for length in 0..HELLO.len() {
        let mut stream = UnixStream::connect(service.control()).unwrap();
        std::io::Write::write_all(&mut stream, &HELLO[..length]).unwrap();
    }
    assert_eq!(service.served(), service.old);
    service.hand_over("keyed");
}

#[test]
fn a_successor_of_a_daemon_that_was_killed_starts_as_any_other() {
    let service = Service::start("keyed");
    service.bench.signal(service.old, Signal::KILL);
    assert!(service.control().exists(), "a stale socket");
    let (new, _running) = service.hand_over("keyed");
    assert_ne!(new, service.old);
    service.bench.assert_stopped(new);
}

/// The old daemon may have let go already: then none is left, and the next client starts one.
#[test]
fn a_successor_that_is_killed_as_soon_as_it_has_asked_leaves_one_daemon() {
    for _ in 0..20 {
        let mut service = Service::start("keyed");
        let mut successor = service.successor("keyed", &service.replacing);
        let new = successor.child.id();
        await_that("descriptors", || service.holds_lock(new));
        successor.kill();
        service.give_up();
        let daemon = service.served();
        assert_ne!(daemon, new);
        await_that("one daemon", || service.bench.daemons() == [daemon]);
        service.bench.assert_stopped(daemon);
    }
}

/// Stops a daemon whose successor has its descriptors, and returns both. It may have ended before it is stopped: then tries again.
fn stopped_in_the_middle() -> (Service, Running) {
    for _ in 0..50 {
        let service = Service::start("keyed");
        let successor = service.successor("keyed", &service.replacing);
        let new = successor.child.id();
        await_that("descriptors", || service.holds_lock(new));
        if service.bench.signal_if_alive(service.old, Signal::STOP) {
            return (service, successor);
        }
    }
    panic!("each daemon has ended before it was stopped");
}

/// It was stopped before it read that its successor serves, or after.
#[test]
fn a_daemon_that_was_stopped_in_the_middle_lets_go_when_it_goes_on() {
    for then in [&[Signal::CONT][..], &[Signal::TERM, Signal::CONT]] {
        let (service, successor) = stopped_in_the_middle();
        let new = successor.child.id();
        assert_eq!(service.bench.await_event("ready", 2), new);
        assert_eq!(service.served(), new);
        for signal in then {
            service.bench.signal(service.old, *signal);
        }
        await_that("end of the old daemon", || service.bench.daemons() == [new]);
        assert_eq!(service.served(), new);
    }
}

#[test]
fn a_daemon_whose_files_were_removed_is_handed_over_all_the_same() {
    let service = Service::start("keyed");
    fs::remove_file(service.control()).unwrap();
    await_that("control socket", || service.control().exists());
    let (second, _running) = service.hand_over("keyed");
    // The daemon makes files again meanwhile.
    while fs::remove_dir_all(service.bench.place()).is_err() {}
    let is_complete = || {
        let exists = |name| service.bench.place().join(name).exists();
        ["lock", "socket", "identity.json", "control"].into_iter().all(exists)
    };
    await_that("files", is_complete);
    assert_eq!(service.served(), second);
    let replacing = open_lock(service.bench.place().join("replacing"));
    replacing.try_lock().unwrap();
    let service = Service { replacing, ..service };
    service.hand_over("keyed");
}

#[test]
fn a_file_that_is_removed_during_a_handover_ends_it_or_is_made_again() {
    for name in ["lock", "socket", "identity.json", "control"] {
        for _ in 0..5 {
            let mut service = Service::start("keyed");
            let _successor = service.successor("keyed", &service.replacing);
            service.bench.await_event("start", 2);
            await_that("end of the old daemon or of the successor, or both", || {
                // The file is missing for a moment anyway, or was not made again yet.
                let _ = fs::remove_file(service.bench.place().join(name));
                service.bench.events("ready") > 1 || service.bench.daemons().len() < 2
            });
            service.give_up();
            let daemon = service.served();
            await_that("one daemon", || service.bench.daemons() == [daemon]);
            assert_eq!(service.served(), daemon);
        }
    }
}

#[test]
fn a_daemon_that_knows_nothing_of_handovers_is_left_alone() {
    let service = Service::start("plain");
    service.assert_failed(service.successor("keyed", &service.replacing));
    assert!(service.told().contains("NotReached"), "{}", service.told());
}
