/// Longest [version](super::DaemonProcess::version) and longest [build](super::DaemonProcess::build), in bytes: each is printed in a line, and a
/// SHA-256 that names a build has 64 digits.
pub const MAX_VERSION_BYTES: usize = 128;
