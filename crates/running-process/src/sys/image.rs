//! The executable image of a process.

use std::fs::File;
use std::path::PathBuf;

/// The executable image that a process runs.
#[derive(Debug)]
pub(crate) struct ProcessImage {
    /// Path of the image when the process started, as far as the system can tell.
    pub path: PathBuf,
    /// The image, open for reading at its start.
    pub file: File,
}
