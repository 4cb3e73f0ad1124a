use super::handover_hooks::HandoverHooks;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use std::io;

/// The owner of a server's place among the others of its kind. It is told how far the server is, and lives until the last
/// handler has returned.
pub(in crate::broker) trait Lifecycle: Send + Sync {
    /// The server begins to serve, and these are its closures around a handover.
    fn set_handover_hooks(&self, hooks: HandoverHooks);

    /// The server is identified, and its identity file takes its place next. May be called again if another process has written
    /// that file meanwhile.
    ///
    /// # Errors
    ///
    /// The server must not be published, and stops.
    fn publishes(&self) -> io::Result<()>;

    /// Clients can find the server from now on, by this identity. Returns `false` if the server does not take its place after
    /// all, and was stopped.
    fn ready(&self, identity: &DaemonProcess) -> bool;

    /// Makes the directories of the endpoint at `path` again, if they were removed.
    ///
    /// # Errors
    ///
    /// They cannot be made, or this user is not their only owner.
    fn prepare(&self, path: &str) -> io::Result<()>;

    /// Calls `write`, which writes the identity file that was removed, unless the endpoint is another process's by now. Returns
    /// whether it was written.
    ///
    /// # Errors
    ///
    /// That of `write`; [`io::ErrorKind::NotFound`] if it is to be tried again.
    fn write_again(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<bool>;

    /// The server accepts nothing more from now on; its identity file is about to be removed. May block for seconds.
    fn drains(&self);

    /// The server has ended, and no handler runs any more. Threads that are about to end may own this a moment longer. May
    /// block for seconds.
    fn ended(&self);
}
