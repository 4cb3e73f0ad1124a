//! One directory for everything that a run leaves on the disk, and gone with it.

#![allow(unsafe_code, reason = "the environment is changed while there is one thread")]

use std::cell::Cell;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub struct Scratch {
    path: PathBuf,
    next: Cell<u32>,
    /// Where servers run.
    pub server_cpu: Option<usize>,
    /// Removes it, in the process that made it.
    _owned: Option<TempDir>,
}

impl Scratch {
    /// A directory of this run's, which holds what the library remembers as well. Interrupted from the terminal, the
    /// process removes it and ends.
    ///
    /// # Safety
    ///
    /// This process has no other thread.
    pub unsafe fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().to_owned();
        // SAFETY: nobody else reads the environment; the caller promises that there is nobody.
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

    /// The directory of the process that started this one.
    pub fn within(path: &Path, server_cpu: Option<usize>) -> Self {
        Self { path: path.to_owned(), next: Cell::new(0), server_cpu, _owned: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the library remembers what it has digested.
    pub fn cache(&self) -> PathBuf {
        cache_in(&self.path)
    }

    /// A path that nothing else has, short enough for a socket.
    pub fn unused(&self, extension: &str) -> PathBuf {
        self.next.set(self.next.get() + 1);
        self.path.join(format!("{}-{}.{extension}", std::process::id(), self.next.get()))
    }
}

fn cache_in(directory: &Path) -> PathBuf {
    directory.join("cache")
}
