//! The service manager that starts the daemon of a service, for other commands.

use super::{launchd, systemd};
use running_process::broker::service::{Activation, Service, ServiceManager, ServiceSocket};
use std::time::Instant;

/// The unit of a service manager that is installed for a service.
pub(crate) struct StartedBy {
    pub(crate) activation: Activation,
    /// The unit listens at the socket of the service. It does not if it is not enabled, or has failed.
    pub(crate) listens: bool,
    /// The command that ends its listening, or begins it if the unit does not listen.
    pub(crate) command: String,
}

impl StartedBy {
    /// Returns the unit that is installed for the service, which has no daemon. Sockets are looked at until `deadline`.
    pub(crate) fn of(service: &Service, deadline: Instant) -> Option<Self> {
        // An unusable record is told by `doctor`.
        let activation = service.activation().ok().flatten()?;
        let socket = service.examine().ok()?.socket;
        let listens = match ServiceSocket::all(deadline) {
            Ok(sockets) => sockets.iter().any(|found| found.is_at(&socket)),
            // The system does not list them. A daemon that has ended has removed its own.
            Err(_) => socket.symlink_metadata().is_ok(),
        };
        let unit = &activation.unit;
        let command = match (activation.manager, listens) {
            (ServiceManager::Launchd, true) => launchd::ends_listening(unit),
            (ServiceManager::Launchd, false) => launchd::begins_listening(unit),
            (_, true) => systemd::ends_listening(unit),
            (_, false) => systemd::begins_listening(unit),
        };
        Some(Self { activation, listens, command })
    }
}
