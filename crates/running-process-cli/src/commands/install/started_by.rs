//! The service manager that starts the daemon of a service, for other commands.

use super::{launchd, systemd};
use running_process::broker::service::{Activation, Service, ServiceManager};

/// Returns the unit of the service manager that starts the daemon, and the command that ends its listening.
pub(in crate::commands) fn started_by(service: &Service) -> Option<(Activation, String)> {
    // An unusable record is told by `doctor`.
    let activation = service.activation().ok().flatten()?;
    let command = match activation.manager {
        ServiceManager::Launchd => launchd::ends_listening(&activation.unit),
        _ => systemd::ends_listening(&activation.unit),
    };
    Some((activation, command))
}
