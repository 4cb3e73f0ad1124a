//! A service in a root of its own, for tests.

use super::definition::Service;
use super::paths::ServicePaths;

/// A service whose directories are made, and removed with this value.
pub(super) struct ScratchService {
    _root: tempfile::TempDir,
    pub(super) service: Service,
    pub(super) paths: ServicePaths,
}

impl ScratchService {
    pub(super) fn new(name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let service = Service::new(name).unwrap().below(root.path().join("root"));
        let paths = ServicePaths::of(&service).unwrap();
        paths.make().unwrap();
        Self { _root: root, service, paths }
    }
}

/// Waits by `wait` on a thread of its own, lets it go on by `release` once it has waited for a while, and returns its result.
pub(super) fn released<T: Send>(wait: impl FnOnce() -> T + Send, release: impl FnOnce()) -> T {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;
    std::thread::scope(|scope| {
        let (sender, done) = channel();
        scope.spawn(move || sender.send(wait()));
        let early = done.recv_timeout(Duration::from_millis(50));
        assert!(matches!(early, Err(RecvTimeoutError::Timeout)), "it does not wait");
        release();
        done.recv_timeout(Duration::from_mins(1)).expect("it goes on")
    })
}
