//! The directory for all files of a run, removed at its end.

#![allow(unsafe_code, reason = "the environment is changed while there is one thread")]

use std::cell::Cell;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub struct Scratch {
    path: PathBuf,
    next: Cell<u32>,
    /// The placement of the servers.
    pub server_cpu: Option<usize>,
    /// Removes the directory when dropped. Only the process that made it has one.
    _owned: Option<TempDir>,
}

impl Scratch {
    /// Makes the directory of this run, which also holds the library's remembered digests. A process that is
    /// interrupted from the terminal removes it and ends.
    ///
    /// # Safety
    ///
    /// This process has no other thread.
    pub unsafe fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().to_owned();
        // SAFETY: no other thread reads the environment, as the caller promises.
        unsafe { std::env::set_var("XDG_CACHE_HOME", cache_in(&path)) };
        let removed = path.clone();
        std::thread::spawn(move || {
            if crate::party::runtime().block_on(tokio::signal::ctrl_c()).is_ok() {
                let _best_effort = std::fs::remove_dir_all(removed);
                std::process::exit(130);
            }
        });
        Self { path, next: Cell::new(0), server_cpu: None, _owned: Some(directory) }
    }

    /// Returns the directory of the process that started this one.
    pub fn within(path: &Path, server_cpu: Option<usize>) -> Self {
        Self { path: path.to_owned(), next: Cell::new(0), server_cpu, _owned: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder of the library's remembered digests.
    pub fn cache(&self) -> PathBuf {
        cache_in(&self.path)
    }

    /// Returns an unused path, short enough for a socket.
    pub fn unused(&self, extension: &str) -> PathBuf {
        self.next.set(self.next.get() + 1);
        self.path.join(format!("{}-{}.{extension}", std::process::id(), self.next.get()))
    }
}

fn cache_in(directory: &Path) -> PathBuf {
    directory.join("cache")
}
