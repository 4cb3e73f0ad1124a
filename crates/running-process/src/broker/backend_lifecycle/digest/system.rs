//! The facts of the [rule](super::rule) on Linux.

use super::rule::{FileSystem, Moment};
use crate::sys;
use rustix::io::Errno;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

/// Longest time that reading both clocks may take, in nanoseconds. The offset is too large by at most that, so two offsets
/// of one boot differ by at most that.
const READING: i64 = 2_000_000;
/// Maximum number of attempts to read both clocks in that time. After them this process is scheduled too rarely.
const READINGS: u32 = 10;

/// Types of file systems whose every writer sets the time of change, the first store through a shared mapping included
/// (`statfs(2)`, `linux/magic.h`): ext2, ext3 and ext4, XFS, Btrfs, F2FS, bcachefs.
const KEEP_CHANGE_TIME: [u64; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0xCA45_1A4E];
/// tmpfs and ramfs. Files of `memfd_create(2)` are on tmpfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58F6];

/// First Linux on which a process cannot give up the protection of its image. Before, the kernel refused writers while
/// the text was mapped, and a process can remove that mapping.
const BOUND_TO_THE_PROCESS: (u32, u32) = (5, 15);
/// Series of Linux of which some releases admit writers of an image that runs.
const ADMIT_WRITERS: [(u32, u32); 2] = [(6, 11), (6, 12)];

impl Moment {
    /// Returns the present moment; `None` if the clocks cannot be read closely enough together.
    pub(super) fn now() -> Option<Self> {
        for _ in 0..READINGS {
            let earlier = sys::time_since_boot()?;
            let wall = sys::wall_clock()?;
            let took = sys::time_since_boot()?.checked_sub(earlier)?;
            if took <= READING {
                return Some(Self { wall, offset: wall.checked_sub(earlier)? });
            }
        }
        None
    }
}

/// Returns the guarantees of the file system of `file`.
pub(super) fn file_system(file: &File) -> FileSystem {
    let Ok(found) = rustix::io::retry_on_intr(|| rustix::fs::fstatfs(file)) else {
        return FileSystem::Unknown;
    };
    // The type is signed on some machines, and has 32 bits on others.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "a magic number")]
    let magic = found.f_type as u64 & 0xFFFF_FFFF;
    if KEEP_CHANGE_TIME.contains(&magic) {
        FileSystem::KeepsChangeTime
    } else if IN_MEMORY.contains(&magic) {
        FileSystem::InMemory
    } else {
        FileSystem::Unknown
    }
}

/// Returns whether this kernel refuses writers of an image that runs.
///
/// It is checked once, with the image of this process: opening that for writing must fail because it runs. If it fails
/// for another reason, such as another owner, the release of the kernel decides.
pub(super) fn refuses_writers() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        release.as_deref().and_then(series).is_some_and(|release| does_refuse(release, own_image_is_busy()))
    })
}

/// Returns whether kernels of the series refuse writers of an image that runs, of which one may have been found busy.
fn does_refuse(release: (u32, u32), is_busy: Option<bool>) -> bool {
    release >= BOUND_TO_THE_PROCESS && is_busy.unwrap_or(!ADMIT_WRITERS.contains(&release))
}

/// Returns whether opening the image of this process for writing is refused because it runs; `None` if it is refused
/// for another reason.
fn own_image_is_busy() -> Option<bool> {
    let flags = rustix::fs::OFlags::NOCTTY.bits().cast_signed();
    match fs::OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/exe") {
        Ok(_) => Some(false),
        Err(error) => (Errno::from_io_error(&error) == Some(Errno::TXTBSY)).then_some(true),
    }
}

/// Returns the first two numbers of a release: 6 and 12 of `6.12.3-generic`.
fn series(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_series_is_the_first_two_numbers_of_a_release() {
        assert_eq!(series("6.18.44-generic\n"), Some((6, 18)));
        assert_eq!(series("5.15.0-91-generic"), Some((5, 15)));
        assert_eq!(series("6.12-rc1"), Some((6, 12)));
        assert_eq!(series("7.0"), Some((7, 0)));
        for nonsense in ["", "6", "six.one", ".5", "6.x"] {
            assert_eq!(series(nonsense), None, "{nonsense}");
        }
        assert!((5, 14) < BOUND_TO_THE_PROCESS && (6, 0) > BOUND_TO_THE_PROCESS);
    }

    #[test]
    fn writers_are_refused_by_kernels_that_bind_the_image_to_its_process_and_are_not_seen_to_admit_them() {
        for (release, is_busy, refused) in [
            ((5, 14), Some(true), false),
            ((5, 15), None, true),
            ((5, 15), Some(false), false),
            ((6, 10), None, true),
            ((6, 11), None, false),
            ((6, 12), None, false),
            ((6, 12), Some(true), true),
            ((6, 13), None, true),
            ((6, 13), Some(true), true),
            ((6, 13), Some(false), false),
        ] {
            assert_eq!(does_refuse(release, is_busy), refused, "{release:?} {is_busy:?}");
        }
    }

    #[test]
    fn the_image_of_this_process_is_found_busy_if_any_image_that_runs_is() {
        let directory = tempfile::tempdir().unwrap();
        let copied = directory.path().join("running");
        // Another process copies it, so that no child that this process starts meanwhile can hold the copy open for
        // writing.
        assert!(Command::new("cp").arg("/bin/cat").arg(&copied).status().unwrap().success());
        let mut running = Command::new(&copied).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let opened = fs::OpenOptions::new().write(true).open(&copied);
        running.kill().unwrap();
        running.wait().unwrap();
        let is_busy = opened.is_err_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy);
        match own_image_is_busy() {
            Some(own) => assert_eq!(own, is_busy),
            // This user may not write to it, or no user may write to its file system.
            None => assert!(
                rustix::fs::access("/proc/self/exe", rustix::fs::Access::WRITE_OK)
                    .is_err_and(|error| matches!(error, Errno::ACCESS | Errno::ROFS))
            ),
        }
    }

    #[test]
    fn the_wall_clock_stands_still_against_the_time_since_boot() {
        let [one, other] = [(); 2].map(|()| Moment::now().expect("clocks that are read together"));
        assert!(!Moment::is_step(one.offset, other.offset), "{one:?} {other:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(now.as_nanos().abs_diff(one.wall.try_into().unwrap()) < 3_600_000_000_000);
    }

    #[test]
    fn what_is_not_a_file_of_a_known_file_system_guarantees_nothing() {
        assert_eq!(file_system(&File::open("/proc/self/exe").unwrap()), {
            // The file system that the tests are on.
            file_system(&File::open(std::env::current_exe().unwrap()).unwrap())
        });
        assert_eq!(file_system(&File::open("/proc/self/stat").unwrap()), FileSystem::Unknown);
        let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        assert_eq!(file_system(&File::from(memory)), FileSystem::InMemory);
    }
}
