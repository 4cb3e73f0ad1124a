//! The events of a connection, which a thread leaves for the one that drives it.

use std::time::Duration;

/// Events of a connection. The socket is readable or writable, its peer ended writing or closed it, or a thread wakes the
/// connection.
pub(super) const READABLE: u8 = 1;
pub(super) const WRITABLE: u8 = 2;
pub(super) const READ_CLOSED: u8 = 4;
pub(super) const HUNG_UP: u8 = 8;
pub(super) const WAKE: u8 = 16;
/// The timer has fired.
pub(super) const TIMER: u8 = 32;

/// Time without a byte after which a thread that reads one connection gives it back to the poller.
pub(super) const QUIET: Duration = Duration::from_millis(10);
