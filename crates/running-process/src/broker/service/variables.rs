//! Variables of the environment, by which a client and its daemon agree on the service.

/// The variable that names another root for the directories of all services, an absolute path.
pub const ROOT: &str = "RUNNING_PROCESS_DIR";

/// The name of the service that the process is started for.
pub(super) const SERVICE: &str = "RUNNING_PROCESS_SERVICE";
/// The key of the service, if it has one.
pub(super) const KEY: &str = "RUNNING_PROCESS_KEY";
/// The root that the client uses, for the daemon of this service alone.
pub(super) const STARTED_ROOT: &str = "RUNNING_PROCESS_SERVICE_ROOT";
/// The number of the descriptor that holds the service's lock.
pub(super) const LOCK: &str = "RUNNING_PROCESS_LOCK";
/// The descriptor that holds the lock when the daemon's program begins.
#[cfg(unix)]
pub(super) const LOCK_DESCRIPTOR: &str = "3";
/// The socket for reports to the starter, as systemd has it.
pub(super) const NOTIFY: &str = "NOTIFY_SOCKET";
/// `1` if the process is started as the successor of the daemon that runs. Then [`LOCK`] holds the lock of the replacement.
pub(super) const HANDOVER: &str = "RUNNING_PROCESS_HANDOVER";
