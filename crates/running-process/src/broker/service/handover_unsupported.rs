//! Systems that hand no endpoint over: a daemon is stopped before its successor is started.

use super::paths::ServicePaths;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_sdk::{HandoverHooks, ServerStop};
use crate::transport::{HeldLock, InstanceLock, LocalListener};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A daemon without a predecessor and without a successor.
pub(super) struct Succession;

#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on the other systems")]
impl Succession {
    pub(super) fn first(
        _: &ServicePaths,
        _: &LocalListener,
        _: &Arc<Mutex<Option<HeldLock>>>,
        _: Duration,
        _: Option<InstanceLock>,
    ) -> Self {
        Self
    }

    pub(super) fn stops(&self, _: ServerStop) {}

    pub(super) fn set_hooks(&self, _: HandoverHooks) {}

    pub(super) fn publishes(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn ready(&self, _: &DaemonProcess) -> bool {
        true
    }

    pub(super) fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn write_again(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<bool> {
        write().map(|()| true)
    }

    pub(super) fn ends(&self) {}

    pub(super) fn wait_hook(&self) {}
}
