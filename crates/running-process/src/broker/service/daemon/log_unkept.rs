//! Systems on which a log is bounded only when the daemon starts.

use std::io;
use std::path::Path;

/// Returns `false`: no log is kept below its limit here.
#[expect(clippy::unnecessary_wraps, reason = "as on the other systems")]
pub(in crate::broker::service) fn keep_log(_path: &Path, _limit: u64) -> io::Result<bool> {
    Ok(false)
}
