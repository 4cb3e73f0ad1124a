//! The events of a connection, which a thread leaves for the one that drives it.

/// The socket is readable or writable, or its peer ended writing or closed it.
pub(super) const READABLE: u8 = 1;
pub(super) const WRITABLE: u8 = 2;
pub(super) const READ_CLOSED: u8 = 4;
pub(super) const HUNG_UP: u8 = 8;
/// The connection drains, because its slot is needed.
pub(super) const DRAIN: u8 = 16;
/// The timer has fired.
pub(super) const TIMER: u8 = 32;
/// A thread has changed something else.
pub(super) const WAKE: u8 = 64;
