//! One directory for everything that a run leaves on the disk, and gone with it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub struct Scratch {
    directory: TempDir,
    next: Cell<u32>,
}

impl Scratch {
    /// A directory of this run's. Interrupted from the terminal, the process removes it and ends.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().to_owned();
        std::thread::spawn(move || {
            if crate::party::runtime().block_on(tokio::signal::ctrl_c()).is_ok() {
                let _best_effort = std::fs::remove_dir_all(path);
                std::process::exit(130);
            }
        });
        Self { directory, next: Cell::new(0) }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path that nothing else has, short enough for a socket.
    pub fn unused(&self, extension: &str) -> PathBuf {
        self.next.set(self.next.get() + 1);
        self.path().join(format!("{}.{extension}", self.next.get()))
    }
}
