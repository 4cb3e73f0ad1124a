//! What tells one run of a daemon from every other run.

use super::IdentityError;

/// Length of [`Origin::instance_id`], in bytes.
pub const INSTANCE_ID_BYTES: usize = 16;

/// Where a daemon's process comes from: when the kernel started it, and what nothing else repeats by chance.
///
/// Like the rest of an identity it is public. Its worth is that the kernel can be asked for the same start time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When the kernel started the process, in the platform's own unit; only equal values of one boot mean something.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux: clock ticks since boot, `starttime` of `proc_pid_stat(5)`. macOS and FreeBSD: microseconds since the Unix
    /// epoch; on FreeBSD it moves when the wall clock is set. Windows: the creation time of `GetProcessTimes`, in 100 nanoseconds since 1601.
    pub start_time: u64,
    /// Random, made once per process.
    pub instance_id: [u8; INSTANCE_ID_BYTES],
    /// On Linux the inode of the process's `/proc/self/ns/pid`: its pid means something only there. Elsewhere none.
    pub pid_namespace: Option<u64>,
    /// Whether another process made the socket that the daemon listens on (`LISTEN_FDS`), so that the kernel names
    /// that one as the listener.
    pub inherited_listener: bool,
}

impl Origin {
    /// The origin if both of its mandatory fields are there.
    pub(super) fn from_known(
        start_time: Option<u64>,
        instance_id: Option<[u8; INSTANCE_ID_BYTES]>,
        pid_namespace: Option<u64>,
        inherited_listener: bool,
    ) -> Option<Self> {
        Some(Self { start_time: start_time?, instance_id: instance_id?, pid_namespace, inherited_listener })
    }

    /// The instance id as 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn instance_digits(&self) -> String {
        let nibbles = self.instance_id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
    }
}

/// An instance id from the wire; none if the field is absent.
pub(super) fn instance_id(bytes: &[u8]) -> Result<Option<[u8; INSTANCE_ID_BYTES]>, IdentityError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = bytes.try_into().map_err(|_| IdentityError::InstanceIdLength { length: bytes.len() })?;
    Ok(Some(id))
}

/// The instance id that 32 hexadecimal digits of either case spell.
#[cfg(feature = "host")]
pub(super) fn instance_id_of_digits(digits: &str) -> Result<[u8; INSTANCE_ID_BYTES], IdentityError> {
    let malformed = || IdentityError::InstanceIdDigits { found: digits.to_owned() };
    // A sign is no digit, though the parser of numbers takes one.
    if digits.len() != 2 * INSTANCE_ID_BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    u128::from_str_radix(digits, 16).map(u128::to_be_bytes).map_err(|_| malformed())
}
