//! The executable image of a process.

use std::fs::File;
use std::path::PathBuf;

/// The executable image that a process runs.
#[derive(Debug)]
pub(crate) struct ProcessImage {
    /// Where the image was when the process started, as far as the system can say.
    pub path: PathBuf,
    /// The image itself, open for reading at its start.
    pub file: File,
}
