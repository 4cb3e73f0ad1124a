//! A daemon in this process, and successors in processes of their own.

use super::channel::Channel;
use super::messages::Message;
use super::predecessor::Predecessor;
use super::succession::Succession;
use super::successor::{ask, connect};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::identity_file::{
    try_read_daemon_identity_file, write_daemon_identity_file,
};
use crate::broker::backend_sdk::{HandoverHooks, ServerStop};
use crate::broker::protocol::Endpoint;
use crate::broker::service::deadline::Deadline;
use crate::broker::service::definition::Service;
use crate::broker::service::handover_error::HandoverError;
use crate::broker::service::held::held;
use crate::broker::service::paths::ServicePaths;
use crate::own_process;
use crate::sys::{LockHolder, PidfdPolicy};
use crate::transport::{HeldLock, InstanceLock, LocalListener, LocalStream};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const ROOT: &str = "TEST_HANDOVER_ROOT";
const ACT: &str = "TEST_HANDOVER_ACT";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a successor publishes itself, also on a busy machine. Tests wait for its end.
const SHORT: Duration = Duration::from_secs(5);

fn service(root: &std::path::Path) -> Service {
    Service::new("handover").unwrap().below(root)
}

fn identity(paths: &ServicePaths) -> DaemonProcess {
    let path = paths.socket().unwrap().to_str().unwrap().to_owned();
    DaemonProcess::current_process(Endpoint::unix_socket("handover", path).unwrap(), None).unwrap()
}

/// A daemon, as far as handovers are concerned.
struct Daemon {
    root: tempfile::TempDir,
    paths: ServicePaths,
    listener: LocalListener,
    lock: Arc<Mutex<Option<HeldLock>>>,
    succession: Succession,
    stop: ServerStop,
    identity: DaemonProcess,
    /// Receives the name of each hook that is called.
    hooks: Receiver<&'static str>,
}

impl Daemon {
    /// Returns a daemon whose successor may take `start_timeout` to publish itself. Its hook `release` fails with `refusal`.
    fn new(start_timeout: Duration, refusal: Option<&'static str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let paths = ServicePaths::of(&service(&root.path().join("root"))).unwrap();
        paths.make().unwrap();
        let lock = HeldLock::new(InstanceLock::try_take(&paths.lock()).unwrap().unwrap());
        let listener =
            LocalListener::bind_locked(paths.socket().unwrap().to_str().unwrap(), lock.clone()).unwrap();
        let lock = Arc::new(Mutex::new(Some(lock)));
        let succession = Succession::first(&paths, &listener, &lock, start_timeout, None);
        let (stop, (call, hooks)) = (ServerStop::default(), mpsc::channel());
        let (releases, resumes) = (call.clone(), call);
        let mut set = HandoverHooks::default();
        set.set_release(move || {
            releases.send("release").unwrap();
            refusal.map_or(Ok(()), Err)
        });
        set.set_resume(move || resumes.send("resume").unwrap());
        succession.set_hooks(set);
        succession.stops(stop.clone());
        succession.publishes().unwrap();
        let identity = identity(&paths);
        write_daemon_identity_file(&paths.identity_file(), &identity).unwrap();
        assert!(succession.ready(&identity));
        Self { root, paths, listener, lock, succession, stop, identity, hooks }
    }

    /// Starts a successor that does `act` once it has the endpoint.
    fn successor(&self, act: &str) -> Successor {
        let mut command = own_process::command(successor);
        command.arg("--nocapture").env(ROOT, self.root.path().join("root")).env(ACT, act);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Successor { child, output }
    }

    #[track_caller]
    fn called(&self, hook: &str) {
        assert_eq!(self.hooks.recv_timeout(TIMEOUT).unwrap(), hook);
    }

    /// Returns the process that the system names to a client that connects now.
    fn named(&self) -> u32 {
        let stream = LocalStream::connect(self.paths.socket().unwrap().to_str().unwrap()).unwrap();
        stream.peer(PidfdPolicy::Use).unwrap().process.pid()
    }

    fn written(&self) -> Option<u32> {
        let identity = try_read_daemon_identity_file(&self.paths.identity_file()).unwrap();
        identity.map(|identity| identity.pid)
    }

    fn is_owner(&self) -> bool {
        held(&self.lock).as_ref().unwrap().is_owner()
    }

    /// Checks that this daemon goes on as if nothing had been, and can still be replaced.
    #[track_caller]
    fn assert_goes_on(&self) {
        let own = std::process::id();
        assert_eq!((self.named(), self.written(), self.is_owner()), (own, Some(own), true));
        assert!(!self.stop.is_handed_over() && !self.stop.is_stopped());
        assert!(self.listener.accept_now().unwrap().is_some());
        let _closed = self.listener.accept_now();
        self.assert_replaced();
    }

    /// Checks that a successor takes over.
    #[track_caller]
    fn assert_replaced(&self) {
        let mut successor = self.successor("publish");
        successor.says("taken");
        successor.says("left");
        self.called("release");
        let new = successor.child.id();
        assert_eq!((self.named(), self.written(), self.is_owner()), (new, Some(new), false));
        assert!(self.stop.is_handed_over());
        // It took the lock, and `/proc/locks` goes on naming it.
        let holder = InstanceLock::holder(&self.paths.lock()).unwrap();
        assert_eq!(holder, Some(LockHolder::Inherited { pids: vec![new] }));
        self.succession.ends();
        self.listener.close();
        self.listener.end();
        assert_eq!((self.named(), self.written()), (new, Some(new)), "nothing is removed or shut down");
        successor.ends();
        assert!(!InstanceLock::is_held(&self.paths.lock()).unwrap());
        assert!(self.hooks.try_recv().is_err());
    }
}

struct Successor {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Successor {
    /// Waits until it prints a line that begins with `words`, and returns it.
    #[track_caller]
    fn says(&mut self, words: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if line.starts_with(words) {
                return line;
            }
            line.clear();
        }
        panic!("it ended without {words:?}")
    }

    /// Checks that it was killed.
    #[track_caller]
    fn was_killed(mut self) {
        // It would end by itself once its input does.
        let _input = self.child.stdin.take();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }

    /// Lets it end as it should.
    #[track_caller]
    fn ends(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "started by the other tests in a process of its own"]
fn successor() {
    let (Some(root), Ok(act)) = (env::var_os(ROOT), env::var(ACT)) else { return };
    let paths = ServicePaths::of(&service(root.as_ref())).unwrap();
    let replacing = loop {
        // The daemon may be about to close the one of the successor before.
        if let Some(lock) = InstanceLock::try_take(&paths.replacing()).unwrap() {
            break lock;
        }
        thread::sleep(Duration::from_millis(1));
    };
    let (channel, process) = connect(&paths).unwrap();
    let socket = paths.socket().unwrap();
    let asked = ask(channel, &replacing, &paths, socket.to_str().unwrap(), Deadline::after(TIMEOUT));
    let (channel, lock, listener) = match asked {
        Ok(asked) => asked,
        Err(HandoverError::Refused { reason }) => return println!("\nrefused: {reason}"),
        Err(error) => panic!("{error:?}"),
    };
    println!("\ntaken");
    let mut predecessor = Predecessor { channel, process };
    let publish = || {
        listener.shared_socket().unwrap().listen_again().unwrap();
        write_daemon_identity_file(&paths.identity_file(), &identity(&paths)).unwrap();
    };
    match &*act {
        "exit" => std::process::exit(3),
        "close" => drop(predecessor),
        "published, but silent" => publish(),
        "wrong" => predecessor.channel.send(&Message::Left, &[]).unwrap(),
        "publish" => {
            publish();
            assert!(predecessor.leaves());
            lock.own();
            println!("left");
        }
        "unlock" => {
            // As the end of a daemon does.
            lock.with_file(fs::File::unlock).unwrap().unwrap();
            println!("unlocked");
        }
        "hang" => {}
        act => panic!("{act}"),
    }
    let mut end = Vec::new();
    std::io::stdin().read_to_end(&mut end).unwrap();
    drop((listener, lock));
}

#[test]
fn a_daemon_lets_its_successor_take_over_and_touches_nothing_any_more() {
    Daemon::new(TIMEOUT, None).assert_replaced();
}

#[test]
fn a_successor_that_does_not_take_over_is_ended_and_the_daemon_goes_on() {
    for (act, start_timeout) in [
        ("exit", TIMEOUT),
        ("close", TIMEOUT),
        ("wrong", TIMEOUT),
        ("hang", SHORT),
        ("published, but silent", SHORT),
    ] {
        let daemon = Daemon::new(start_timeout, None);
        let mut successor = daemon.successor(act);
        daemon.called("release");
        if act == "exit" {
            assert_eq!(successor.child.wait().unwrap().code(), Some(3), "it was not killed");
        } else {
            successor.was_killed();
        }
        daemon.called("resume");
        daemon.assert_goes_on();
    }
}

#[test]
fn a_daemon_whose_place_became_another_ones_meanwhile_takes_nothing_back() {
    let daemon = Daemon::new(TIMEOUT, None);
    let mut successor = daemon.successor("unlock");
    successor.says("unlocked");
    let next = InstanceLock::try_take(&daemon.paths.lock()).unwrap().unwrap();
    let identity = identity(&daemon.paths).with_version("next").unwrap();
    write_daemon_identity_file(&daemon.paths.identity_file(), &identity).unwrap();
    let (stops, stopped) = mpsc::channel();
    daemon.stop.when_stopped(move || stops.send(()).unwrap());
    successor.ends();
    stopped.recv_timeout(TIMEOUT).unwrap();
    assert!(daemon.stop.is_stopped() && !daemon.is_owner());
    let written = try_read_daemon_identity_file(&daemon.paths.identity_file()).unwrap();
    assert_eq!(written, Some(identity));
    daemon.succession.ends();
    daemon.called("release");
    assert!(daemon.hooks.try_recv().is_err(), "it needs nothing back");
    next.release();
}

#[test]
fn a_daemon_that_ends_keeps_its_lock_while_a_hook_runs() {
    for hook in ["release", "resume"] {
        let daemon = Daemon::new(TIMEOUT, None);
        let ((enter, runs), (finish, finished)) = (mpsc::channel(), mpsc::channel());
        let run = move || {
            enter.send(()).unwrap();
            finished.recv().unwrap();
        };
        let mut hooks = HandoverHooks::default();
        if hook == "resume" {
            hooks.set_resume(run);
        } else {
            hooks.set_release(move || {
                run();
                Ok::<_, String>(())
            });
        }
        daemon.succession.set_hooks(hooks);
        let successor = daemon.successor("close");
        runs.recv_timeout(TIMEOUT).unwrap();
        daemon.succession.ends();
        daemon.listener.close();
        daemon.listener.end();
        held(&daemon.lock).take();
        assert!(InstanceLock::is_held(&daemon.paths.lock()).unwrap(), "{hook}");
        finish.send(()).unwrap();
        daemon.succession.wait_hook();
        assert!(!InstanceLock::is_held(&daemon.paths.lock()).unwrap(), "{hook}");
        drop(successor);
    }
}

#[test]
fn a_daemon_that_ends_ends_its_successor_first() {
    let daemon = Daemon::new(TIMEOUT, None);
    let mut successor = daemon.successor("hang");
    successor.says("taken");
    assert!(daemon.paths.control().exists());
    daemon.succession.ends();
    assert!(successor.child.try_wait().unwrap().is_some(), "before the daemon goes on with its end");
    successor.was_killed();
    daemon.called("release");
    assert!(daemon.hooks.recv_timeout(Duration::ZERO).is_err(), "it needs nothing back");
    assert!(!daemon.paths.control().exists() && daemon.is_owner());
    assert_eq!(daemon.written(), Some(daemon.identity.pid));
}

#[test]
fn a_file_that_is_missing_ends_the_handover() {
    for name in ["lock", "socket", "identity.json"] {
        let daemon = Daemon::new(TIMEOUT, None);
        let mut successor = daemon.successor("hang");
        successor.says("taken");
        daemon.succession.prepare().unwrap();
        assert!(successor.child.try_wait().unwrap().is_none(), "all are there");
        let mut writes = 0;
        let error = daemon.succession.write_again(&mut || {
            writes += 1;
            Ok(())
        });
        assert_eq!((error.unwrap_err().kind(), writes), (std::io::ErrorKind::NotFound, 0));
        fs::remove_file(daemon.paths.directory().join(name)).unwrap();
        daemon.succession.prepare().unwrap();
        successor.was_killed();
        daemon.called("release");
        daemon.called("resume");
        assert!(daemon.succession.write_again(&mut || Ok(())).unwrap());
    }
}

#[test]
fn a_daemon_refuses_with_the_reason_of_its_hook() {
    let daemon = Daemon::new(TIMEOUT, Some("the database is busy"));
    let mut successor = daemon.successor("publish");
    assert_eq!(successor.says("refused"), "refused: the database is busy\n");
    daemon.called("release");
    successor.ends();
    assert_eq!((daemon.named(), daemon.is_owner()), (std::process::id(), true));
    assert!(daemon.hooks.recv_timeout(Duration::ZERO).is_err(), "nothing was given up");
}

#[test]
fn a_daemon_that_ends_or_whose_files_are_missing_refuses() {
    let daemon = Daemon::new(TIMEOUT, None);
    fs::remove_file(daemon.paths.lock()).unwrap();
    let mut successor = daemon.successor("publish");
    assert!(successor.says("refused").contains("a file of the service was removed"));
    successor.ends();
    daemon.called("release");
    daemon.called("resume");
}

#[test]
fn the_control_socket_is_made_again_and_removed_at_the_end() {
    let daemon = Daemon::new(TIMEOUT, None);
    fs::remove_file(daemon.paths.control()).unwrap();
    daemon.succession.prepare().unwrap();
    assert!(daemon.paths.control().exists());
    let mut successor = daemon.successor("publish");
    successor.says("left");
    // The successor's process has no control socket in this test.
    daemon.succession.ends();
    assert!(daemon.paths.control().exists(), "it may be the successor's by now");
    successor.ends();
    let daemon = Daemon::new(TIMEOUT, None);
    daemon.succession.ends();
    assert!(!daemon.paths.control().exists());
}

#[test]
#[ignore = "started by the next test as another user"]
fn stranger() {
    let Ok(path) = env::var(ROOT) else { return };
    let stream = LocalStream::connect(&path).unwrap();
    println!("\nconnected");
    let mut end = Vec::new();
    std::io::stdin().read_to_end(&mut end).unwrap();
    drop(stream);
}

#[test]
fn a_process_of_another_user_is_no_successor() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root starts processes of other users");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    for path in [directory.path(), &path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = own_process::command(stranger);
    command.arg("--nocapture").env(ROOT, &path).uid(65534).gid(65534);
    let Ok(mut child) = command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        return eprintln!("skipped: another user may not run this program");
    };
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut stranger = Successor { child, output };
    stranger.says("connected");
    let channel = Channel::new(listener.accept().unwrap().0.into());
    assert_eq!(channel.peer().unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    stranger.ends();
}
