//! The directory of a socket or a file, in which no other user can replace files.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use super::super::error::DirectoryFault;
use crate::sys::own_user;

/// Flags to open a directory without reading it: a user who may only pass through it may use a file in it.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const LOOK: OFlags = OFlags::RDONLY;

/// An open directory. Each operation acts in it, whatever is at its path by now.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Opens the directory of `path`, and returns it with the file name at the end of `path`.
    ///
    /// # Errors
    ///
    /// The directory could not be opened; [`Errno::INVAL`] if `path` has no file name.
    pub(crate) fn of(path: &Path) -> Result<(Self, OsString), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = LOOK | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A network file system asks a server, and may be interrupted.
        let directory = retry_on_intr(|| openat(CWD, parent, flags, Mode::empty()))?;
        Ok((Self(directory), name))
    }

    /// Checks that no other user can replace a file in the directory: it belongs to this user or root, and only they
    /// can write it. With the sticky bit, as `/tmp` has it, others may write it, because only its owner replaces a
    /// file.
    ///
    /// # Errors
    ///
    /// The directory could not be examined; otherwise the inner result says what is wrong.
    pub(crate) fn check(&self) -> io::Result<Result<(), DirectoryFault>> {
        const STICKY: u32 = 0o1000;
        let found = fstat(&self.0)?;
        let owner = found.st_uid;
        match own_user() {
            _ if owner == 0 => {}
            Ok(own) if owner == own => {}
            Ok(_) => return Ok(Err(DirectoryFault::ForeignOwner { owner })),
            Err(error) => return Ok(Err(DirectoryFault::UnmappedUser { uid: error.uid })),
        }
        let mode = mode_of(&found);
        if mode & 0o022 != 0 && mode & STICKY == 0 {
            return Ok(Err(DirectoryFault::WritableByOthers { mode }));
        }
        Ok(Ok(()))
    }

    /// Returns the metadata of the file at `name`, without following a symbolic link; `None` if there is none.
    pub(crate) fn look_at(&self, name: &OsStr) -> Result<Option<Stat>, Errno> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the file `name` without following a link, without waiting, and without making it the terminal of this
    /// process.
    pub(crate) fn open_file(&self, name: &OsStr, flags: OFlags, mode: Mode) -> Result<File, Errno> {
        let own = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        retry_on_intr(|| openat(&self.0, name, flags | own, mode)).map(File::from)
    }

    pub(crate) fn remove(&self, name: &OsStr) -> Result<(), Errno> {
        unlinkat(&self.0, name, AtFlags::empty())
    }

    /// Removes the file at `name` if it is the one of this identity. Any other is left alone, and a missing one is no error.
    pub(super) fn remove_same(&self, name: &OsStr, identity: FileIdentity) -> Result<(), Errno> {
        if self.look_at(name)?.is_none_or(|found| FileIdentity::of(&found) != identity) {
            return Ok(());
        }
        match self.remove(name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Device and inode of a file. The number is not reused while the inode is open or, of a socket, bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the types differ between systems"
    )]
    pub(crate) fn of(found: &Stat) -> Self {
        Self { device: found.st_dev as u64, inode: u64::from(found.st_ino) }
    }

    /// Returns the identity of the file `inode` of `device`.
    pub(crate) fn from_numbers(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }

    /// Returns the device and the inode.
    pub(crate) fn numbers(self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// Returns the permission bits, with the sticky bit and its like.
pub(crate) fn mode_of(found: &Stat) -> u32 {
    bits(Mode::from_raw_mode(found.st_mode))
}

#[allow(clippy::useless_conversion, reason = "the type differs between systems")]
pub(crate) fn bits(mode: Mode) -> u32 {
    u32::from(mode.bits()) & 0o7777
}

pub(crate) fn type_of(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fcntl_getfl;
    use rustix::io::{FdFlags, fcntl_getfd};

    #[test]
    fn a_path_through_a_file_leads_to_no_directory() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::write(parent.path().join("file"), "").unwrap();
        let of = |name: &str| Directory::of(&parent.path().join(name)).err();
        assert_eq!(of("file/s"), Some(Errno::NOTDIR));
        assert_eq!(of("none/s"), Some(Errno::NOENT));
        assert_eq!(of("s"), None);
    }

    #[test]
    fn children_inherit_neither_a_directory_nor_a_file_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let (directory, name) = Directory::of(&parent.path().join("s")).unwrap();
        let file = directory.open_file(&name, OFlags::RDWR | OFlags::CREATE, Mode::RUSR).unwrap();
        assert_eq!(fcntl_getfd(&directory).unwrap(), FdFlags::CLOEXEC);
        assert_eq!(fcntl_getfd(&file).unwrap(), FdFlags::CLOEXEC);
    }

    #[test]
    fn a_file_is_opened_through_no_link_and_without_waiting() {
        let parent = tempfile::tempdir().unwrap();
        let (directory, name) = Directory::of(&parent.path().join("s")).unwrap();
        let file = directory.open_file(&name, OFlags::RDWR | OFlags::CREATE, Mode::RUSR).unwrap();
        assert!(fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
        std::os::unix::fs::symlink(parent.path().join("s"), parent.path().join("link")).unwrap();
        let linked = directory.open_file(OsStr::new("link"), OFlags::RDWR, Mode::empty());
        assert!(linked.is_err(), "{linked:?}");
    }

    #[test]
    fn only_the_same_file_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("s");
        let (directory, name) = Directory::of(&path).unwrap();
        let kept = directory.open_file(&name, OFlags::RDWR | OFlags::CREATE, Mode::RUSR).unwrap();
        let identity = FileIdentity::of(&fstat(&kept).unwrap());
        std::fs::rename(&path, parent.path().join("kept")).unwrap();
        std::fs::write(&path, "").unwrap();
        directory.remove_same(&name, identity).unwrap();
        assert!(path.exists(), "it is another file");
        std::fs::rename(parent.path().join("kept"), &path).unwrap();
        directory.remove_same(&name, identity).unwrap();
        assert!(!path.exists());
        directory.remove_same(&name, identity).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "started by the next test as another user"]
    fn puppet_below_a_directory_of_root() {
        let (root, _) = Directory::of(Path::new("/s")).unwrap();
        assert_eq!(root.check().unwrap(), Ok(()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_user_trusts_a_directory_of_root() {
        use crate::own_process;
        use std::os::unix::process::CommandExt;
        use std::process::Command;
        const OTHER: u32 = 65534;
        // The path of this program may lead through a directory that the other user may not enter.
        let mut command = Command::new("/proc/self/exe");
        command.args(own_process::arguments(puppet_below_a_directory_of_root));
        if rustix::process::geteuid().is_root() {
            command.uid(OTHER).gid(OTHER);
        }
        let output = match command.output() {
            Err(error) => return println!("skipped: no process of another user here: {error}"),
            Ok(output) => output,
        };
        own_process::assert_passed(&output);
    }
}
