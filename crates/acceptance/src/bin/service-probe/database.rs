//! A thing that one process at a time may hold.

use crate::start::{Start, record};
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// A file under a lock of its own, as a database is. No file and no lock of the library has a part in it.
pub(crate) struct Database {
    path: PathBuf,
    events: PathBuf,
    held: Mutex<Option<File>>,
}

impl Database {
    pub(crate) fn new(start: &Start) -> Self {
        let path = start.events.with_file_name("database");
        Self { path, events: start.events.clone(), held: Mutex::default() }
    }

    /// Takes the database at once, or records that another process holds it.
    pub(crate) fn open(&self) {
        let file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        match file.try_lock() {
            Ok(()) => *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(file),
            Err(error) => {
                record(&self.events, "second");
                eprintln!("{error}");
            }
        }
    }

    pub(crate) fn close(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
