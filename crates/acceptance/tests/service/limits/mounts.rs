//! A file system in mounts of its own, which only the processes of a test see.

use crate::harness::Running;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Length of a page of the file system, in bytes.
pub(super) const PAGE: usize = 4096;

/// A small file system at a directory.
pub(super) struct SmallDisk {
    /// Holds the mounts until it ends.
    holder: Running,
    directory: PathBuf,
}

impl SmallDisk {
    /// Mounts a file system of so many pages at `directory`; `None` if this process cannot, which it prints.
    pub(super) fn mount(directory: &Path, pages: usize) -> Option<Self> {
        fs::create_dir_all(directory).unwrap();
        let mut unshare = Command::new("unshare");
        let script = "mount -t tmpfs -o size=$2,mode=700 none \"$1\" && echo ready && exec cat";
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        unshare.arg(directory).arg((pages * PAGE).to_string()).stdin(Stdio::piped());
        let mut holder = Running::start(&mut unshare);
        if holder.line() != "ready\n" {
            eprintln!("skipped: this user cannot mount a file system");
            return None;
        }
        Some(Self { holder, directory: directory.to_owned() })
    }

    /// Returns the command that runs `command` where the file system is mounted.
    pub(super) fn with(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &self.holder.child.id().to_string(), "--mount", "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside.stdin(Stdio::null());
        inside
    }

    /// Returns a path of this process for one in the file system.
    fn path(&self, name: &str) -> PathBuf {
        let directory = self.directory.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.child.id().to_string()).join("root").join(directory).join(name)
    }

    /// Fills the file system but for so many `pages`.
    pub(super) fn fill(&self, pages: usize) {
        let mut filler = File::create(self.path("filler")).unwrap();
        while filler.write_all(&[0; PAGE]).is_ok() {}
        let length = filler.metadata().unwrap().len();
        filler.set_len(length.saturating_sub((pages * PAGE) as u64)).unwrap();
    }

    /// Makes room again.
    pub(super) fn free(&self) {
        fs::remove_file(self.path("filler")).unwrap();
    }

    /// Makes the file system one that cannot be written, or can again.
    pub(super) fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(&self.directory);
        assert!(self.with(&mount).status().unwrap().success(), "{how}");
    }
}
