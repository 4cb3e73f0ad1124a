//! Systems without an implementation: every call returns "unsupported".

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use super::image::ProcessImage;

fn unsupported<T>(what: &'static str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, what))
}

pub(super) fn boot_id() -> io::Result<String> {
    unsupported("this system has no boot id")
}

pub(super) fn own_image() -> io::Result<ProcessImage> {
    let path = std::env::current_exe()?;
    let file = File::open(&path)?;
    Ok(ProcessImage { path, file })
}

pub(super) fn own_start_time() -> io::Result<u64> {
    unsupported("this system does not tell when a process started")
}

pub(super) fn started_at(_start_time: u64) -> Option<SystemTime> {
    None
}

pub(super) fn own_pid_namespace() -> io::Result<Option<u64>> {
    Ok(None)
}

/// No value of this type exists: opening one fails.
#[derive(Debug)]
pub(super) enum ProcessHandle {}

impl ProcessHandle {
    pub(super) fn open(_pid: u32) -> io::Result<Option<Self>> {
        unsupported("this system has no handles to processes")
    }

    pub(super) fn pid(&self) -> u32 {
        match *self {}
    }

    pub(super) fn known_same(&self, _other: &Self) -> io::Result<Option<bool>> {
        match *self {}
    }

    pub(super) fn image_path(&self) -> io::Result<PathBuf> {
        match *self {}
    }

    pub(super) fn open_image(&self) -> io::Result<ProcessImage> {
        match *self {}
    }

    pub(super) fn start_time(&self) -> io::Result<u64> {
        match *self {}
    }

    pub(super) fn resident_bytes(&self) -> io::Result<u64> {
        match *self {}
    }

    pub(super) fn pid_namespace(&self) -> io::Result<Option<u64>> {
        match *self {}
    }

    pub(super) fn has_exited(&self) -> io::Result<bool> {
        match *self {}
    }

    pub(super) fn wait_exit(&self, _deadline: Option<Instant>) -> io::Result<bool> {
        match *self {}
    }

    #[cfg(feature = "tokio")]
    #[allow(clippy::unused_async, reason = "the portable surface waits here")]
    pub(super) async fn exited(&self) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn terminate(&self) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        match *self {}
    }
}
