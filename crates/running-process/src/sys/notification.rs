//! The message of a daemon to its starter, on every system.

use std::time::Duration;

/// Longest notification in bytes. systemd has the same limit (`NOTIFY_BUFFER_MAX`).
pub(super) const LONGEST: usize = 4096;
/// Longest wait of a sender, for room in the queue of the receiver or for the senders before it.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// A message, and its sender as far as the system tells it. The sender may have ended since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notification {
    /// `None` if the sender has no number in this process's pid namespace, and on macOS.
    pub sender_pid: Option<u32>,
    /// `None` on macOS, and on Windows, where users have no numbers and only the user of this process can send.
    pub sender_uid: Option<u32>,
    /// At most 4096 bytes: variables such as `READY=1`, one on each line.
    pub text: Vec<u8>,
}
