//! The units of a service, as a service manager's own module makes them.

use super::unit_file::UnitFile;
use running_process::broker::service::Activation;
use std::path::PathBuf;

/// The units of one service, and the commands that put them to use.
pub(super) struct Units {
    pub(super) files: Vec<UnitFile>,
    /// The link that enables them, if the service manager has one.
    pub(super) link: Option<PathBuf>,
    pub(super) activation: Activation,
    pub(super) enable: Vec<String>,
    pub(super) disable: Vec<String>,
}
