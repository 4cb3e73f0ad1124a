//! The life of a daemon: it holds the service's lock, and tells its starter that it serves and others that it drains.

use super::own_start::OwnStart;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_sdk::{HandoverHooks, Lifecycle};
use crate::broker::service::handover::Succession;
use crate::broker::service::held::held;
use crate::broker::service::operation::Operation;
use crate::broker::service::paths::ServicePaths;
use crate::broker::service::variables;
use crate::sys;
use crate::transport::HeldLock;
use std::io;
use std::sync::{Arc, Mutex};

/// This process as the daemon of its service, until the last handler has returned.
pub(in crate::broker::service) struct Daemon {
    pub(in crate::broker::service) paths: ServicePaths,
    pub(in crate::broker::service) own_start: Mutex<Option<OwnStart>>,
    pub(in crate::broker::service) drain: Mutex<Option<Operation>>,
    pub(in crate::broker::service) lock: Arc<Mutex<Option<HeldLock>>>,
    pub(in crate::broker::service) succession: Succession,
    /// The end of that which ends with the daemon, before another one can have its place.
    pub(in crate::broker::service) at_end: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Daemon {
    /// Calls `end` once the server has ended, before another daemon can have the place of this one. It may block for seconds.
    #[cfg(feature = "tokio")]
    pub(in crate::broker::service) fn at_end(&self, end: impl FnOnce() + Send + 'static) {
        *held(&self.at_end) = Some(Box::new(end));
    }
}

impl Lifecycle for Daemon {
    fn set_handover_hooks(&self, hooks: HandoverHooks) {
        self.succession.set_hooks(hooks);
    }

    fn publishes(&self) -> io::Result<()> {
        self.succession.publishes()
    }

    fn ready(&self, identity: &DaemonProcess) -> bool {
        if let Some(start) = held(&self.own_start).take() {
            start.serves(&self.paths);
        }
        if !self.succession.ready(identity) {
            return false;
        }
        if let Some(socket) = std::env::var_os(variables::NOTIFY) {
            // The starter may have ended.
            let _best_effort = sys::notify(&socket, b"READY=1");
        }
        true
    }

    fn prepare(&self, path: &str) -> io::Result<()> {
        self.paths.make().map_err(io::Error::other)?;
        if self.paths.socket().map_err(io::Error::other)?.to_str() != Some(path) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("the directory of {path:?} is gone, and sockets belong elsewhere by now"),
            ));
        }
        self.succession.prepare()
    }

    fn write_again(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<bool> {
        self.succession.write_again(write)
    }

    fn drains(&self) {
        self.succession.ends();
        if held(&self.lock).as_ref().is_none_or(|lock| !lock.is_in_place()) {
            // The place is another daemon's by now.
            return;
        }
        let drain = Operation::announce(self.paths.draining()).ok();
        *held(&self.drain) = drain;
    }

    fn ended(&self) {
        self.succession.ends();
        self.succession.wait_hook();
        let end = held(&self.at_end).take();
        if let Some(end) = end {
            end();
        }
        let drain = held(&self.drain).take();
        if let Some(drain) = &drain {
            drain.withdraw();
        }
        // Before the clients that wait for the drain are woken: they take the lock next.
        held(&self.lock).take();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.ended();
    }
}

#[cfg(test)]
#[cfg(all(unix, feature = "tokio"))]
mod tests {
    use crate::broker::service::Service;
    use crate::broker::service::daemon::place::Place;
    use crate::transport::InstanceLock;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_daemon_that_never_serves_ends_what_ends_with_it_before_it_gives_its_place_up() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::new("unserved").unwrap().below(root.path().join("root"));
        let Place { listener, daemon, .. } = Place::take(&service).unwrap();
        let (lock, is_held_at_end) = (daemon.paths.lock(), Arc::new(AtomicBool::new(false)));
        daemon.at_end({
            let (lock, is_held_at_end) = (lock.clone(), Arc::clone(&is_held_at_end));
            move || is_held_at_end.store(InstanceLock::is_held(&lock).unwrap(), Ordering::Relaxed)
        });
        drop(listener);
        drop(daemon);
        assert!(is_held_at_end.load(Ordering::Relaxed));
        assert!(!InstanceLock::is_held(&lock).unwrap());
    }
}
