//! The start of a daemon that no client supervises.

use crate::broker::backend_sdk::try_remove_daemon_identity_file;
use crate::broker::service::history::History;
use crate::broker::service::operation::Operation;
use crate::broker::service::paths::ServicePaths;
use crate::sys;
use std::io;
use std::time::SystemTime;

/// The start of a daemon that nobody supervises: it was started by hand, or its starter's lock did not reach it.
pub(in crate::broker::service) struct OwnStart {
    operation: Option<Operation>,
}

impl OwnStart {
    pub(in crate::broker::service) fn begin(paths: &ServicePaths) -> io::Result<Self> {
        try_remove_daemon_identity_file(&paths.identity_file())?;
        let mut history = History::read(paths);
        history.begin(SystemTime::now());
        history.runs(std::process::id(), sys::own_start_time().ok());
        history.write(paths)?;
        let operation = Operation::announce(paths.starting()).ok();
        Ok(Self { operation })
    }

    pub(in crate::broker::service) fn serves(self, paths: &ServicePaths) {
        // A process that replaces daemons may have written it since.
        let mut history = History::read(paths);
        history.serves();
        // Without it a crash is not counted.
        let _best_effort = history.write(paths);
        if let Some(operation) = self.operation {
            operation.withdraw();
        }
    }
}
