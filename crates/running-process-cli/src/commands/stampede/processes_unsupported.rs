//! Systems on which the environment of other processes is not read: only the proven daemon is known.

use std::io;
use std::path::Path;

#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(super) fn daemons(_: &Path) -> io::Result<Option<Vec<u32>>> {
    Ok(None)
}

#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(super) fn kill(_: &Path) -> io::Result<Vec<u32>> {
    Ok(Vec::new())
}
