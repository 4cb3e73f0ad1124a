//! Tests of entries for other processes, and of files that must not be believed, followed or repaired.

use super::*;
use crate::broker::backend_lifecycle::digest::DigestCache;
use crate::broker::backend_lifecycle::digest::read::tests::{TestFile, digests_of_bytes, watched};
use crate::own_process;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

/// Offset of the wall clock from the time since boot, in nanoseconds; no test sets the clock.
const OFFSET: i64 = 1_700_000_000_000_000_000;

fn entry_of(key: FileKey) -> Entry {
    Entry { key, offset: OFFSET, digests: digests_of_bytes(b"abc") }
}

/// Looks the digests of `abc` up in `cache`, and remembers them if they are missing; returns how many bytes had to be
/// read.
fn read_with(cache: &DigestCache, key: FileKey) -> u64 {
    match cache.get(&key, OFFSET) {
        Some(found) => {
            assert_eq!(found, digests_of_bytes(b"abc"));
            0
        }
        None => {
            cache.remember(entry_of(key));
            3
        }
    }
}

/// Reads `abc` with the entries below `base` and an empty memory, as another process would; returns how many bytes had
/// to be read.
fn read_below(base: &Path, file: &TestFile) -> u64 {
    let (base, key) = (base.to_owned(), key_of(file));
    watched(move || read_with(&DigestCache::below(&base), key))
}

fn key_of(file: &TestFile) -> FileKey {
    FileKey::of(&std::fs::metadata(&file.path).unwrap())
}

/// Returns a file, a base directory with an entry for it, and the path of the entry.
fn kept() -> (TestFile, PathBuf, PathBuf) {
    let file = TestFile::with(b"abc");
    let base = file.directory.path().join("cache");
    std::fs::create_dir(&base).unwrap();
    assert_eq!(read_below(&base, &file), 3);
    assert_eq!(read_below(&base, &file), 0);
    let entry = base.join("running-process/digests").join(slot(&key_of(&file)));
    assert_eq!(std::fs::metadata(&entry).unwrap().len(), ENTRY as u64);
    (file, base, entry)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Returns the id of a user that this process does not run as.
fn stranger() -> u32 {
    rustix::process::geteuid().as_raw() ^ 1
}

/// Returns whether the file could be given to another user, which only root can do.
fn gave_away(path: &Path) -> bool {
    let given = std::os::unix::fs::lchown(path, Some(stranger()), None);
    if let Err(error) = &given {
        eprintln!("skipped: only root can give a file away ({error})");
    }
    given.is_ok()
}

#[test]
fn what_is_kept_is_private_and_survives_the_memory() {
    let (file, base, entry) = kept();
    let directory = entry.parent().unwrap();
    assert_eq!((mode(&base.join("running-process")), mode(directory)), (0o700, 0o700));
    assert_eq!(mode(&entry), 0o600);
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 1);
    assert_eq!(read_below(&base, &file), 0);
}

#[test]
fn the_base_is_made_but_not_what_it_would_be_in() {
    let file = TestFile::with(b"abc");
    let base = file.directory.path().join("cache");
    assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 0));
    assert_eq!(mode(&base), 0o700);
    let nowhere = file.directory.path().join("nowhere");
    assert_eq!(
        (read_below(&nowhere.join("cache"), &file), read_below(&nowhere.join("cache"), &file)),
        (3, 3)
    );
    assert!(!nowhere.exists());
}

#[test]
fn a_base_that_is_a_link_is_followed_and_may_be_open_to_others() {
    let file = TestFile::with(b"abc");
    let elsewhere = file.directory.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    set_mode(&elsewhere, 0o755);
    let base = file.directory.path().join("cache");
    symlink(&elsewhere, &base).unwrap();
    assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 0));
}

#[test]
fn nothing_is_made_in_the_directory_of_another_user() {
    let file = TestFile::with(b"abc");
    let home = file.directory.path().join("home");
    let base = home.join(".cache");
    std::fs::create_dir(&home).unwrap();
    if !gave_away(&home) {
        return;
    }
    assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 3));
    assert!(!base.exists());
    std::fs::create_dir(&base).unwrap();
    assert!(gave_away(&base));
    assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 3));
    assert_eq!(std::fs::read_dir(&base).unwrap().count(), 0);
}

#[test]
fn a_directory_of_its_user_or_of_root_may_have_the_cache() {
    let [root, user, other] = [0, 7, 8].map(Uid::from_raw);
    assert!(may_be_in(user, user) && may_be_in(root, user) && may_be_in(root, root));
    assert!(!may_be_in(other, user) && !may_be_in(user, root));
}

#[test]
fn entries_of_other_files_are_kept_beside_each_other() {
    let (file, base, entry) = kept();
    let key = key_of(&file);
    let other = (0..1000)
        .map(|inode| FileKey { file: [key.file[0], inode], ..key })
        .find(|other| slot(other) != slot(&key))
        .unwrap();
    let cache = DiskCache::below(base);
    cache.write(&entry_of(other));
    assert_eq!((cache.read(&key), cache.read(&other)), (Some(entry_of(key)), Some(entry_of(other))));
    assert_eq!(std::fs::read_dir(entry.parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn an_entry_has_the_boot_in_which_it_was_written() {
    let (_file, _base, entry) = kept();
    let boot = sys::boot_id().unwrap();
    assert_eq!(std::fs::read(entry).unwrap()[8..16], checksum(boot.as_bytes()).to_le_bytes());
}

#[test]
fn a_directory_that_others_can_enter_is_not_used_and_not_repaired() {
    for name in ["running-process", "running-process/digests"] {
        for open in [0o710, 0o701, 0o740, 0o770, 0o777, 0o755] {
            let (file, base, entry) = kept();
            let content = std::fs::read(&entry).unwrap();
            set_mode(&base.join(name), open);
            std::fs::write(&entry, b"stays").unwrap();
            assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 3), "{name} {open:o}");
            assert_eq!(mode(&base.join(name)), open);
            assert_eq!(std::fs::read(&entry).unwrap(), b"stays");
            std::fs::write(&entry, &content).unwrap();
            assert_eq!(read_below(&base, &file), 3, "a good entry is not believed there");
            set_mode(&base.join(name), 0o700);
            assert_eq!(read_below(&base, &file), 0, "closed by its user, it is used");
        }
    }
}

#[test]
fn a_directory_of_another_user_is_not_used() {
    for name in ["running-process", "running-process/digests"] {
        let (file, base, entry) = kept();
        if !gave_away(&base.join(name)) {
            return;
        }
        let content = std::fs::read(&entry).unwrap();
        assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 3), "{name}");
        assert_eq!(std::fs::metadata(base.join(name)).unwrap().uid(), stranger());
        assert_eq!(std::fs::read(&entry).unwrap(), content);
    }
}

#[test]
fn a_link_or_a_file_in_place_of_a_directory_is_not_used() {
    for name in ["running-process", "running-process/digests"] {
        let (file, base, _) = kept();
        let (directory, moved) = (base.join(name), base.join("moved"));
        std::fs::rename(&directory, &moved).unwrap();
        symlink(&moved, &directory).unwrap();
        assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 3), "{name}");
        std::fs::remove_file(&directory).unwrap();
        std::fs::write(&directory, "precious").unwrap();
        assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 3), "{name}");
        assert_eq!(std::fs::read(&directory).unwrap(), b"precious");
        std::fs::remove_file(&directory).unwrap();
        make_fifo(&directory);
        assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 3), "{name}");
    }
}

/// Checks that the entry is ignored and then replaced by a valid one.
fn assert_ignored_and_replaced(file: &TestFile, base: &Path, entry: &Path, what: &str) {
    assert_eq!(read_below(base, file), 3, "{what}");
    assert_eq!(read_below(base, file), 0, "{what}");
    assert_eq!(std::fs::symlink_metadata(entry).unwrap().len(), ENTRY as u64, "{what}");
}

#[test]
fn an_entry_of_another_layout_or_boot_is_not_believed() {
    let (file, base, entry) = kept();
    let good = std::fs::read(&entry).unwrap();
    // An entry of an older rule, and one from before the last boot.
    for (place, other) in [(0, *b"rpdigst2"), (8, *b"rebooted")] {
        let mut changed = good.clone();
        changed[place..][..8].copy_from_slice(&other);
        let sum = checksum(&changed[..CHECKED]);
        changed[CHECKED..].copy_from_slice(&sum.to_le_bytes());
        std::fs::write(&entry, changed).unwrap();
        assert_ignored_and_replaced(&file, &base, &entry, "another layout or boot");
    }
}

#[test]
fn an_entry_is_not_believed_once_the_wall_clock_was_set() {
    let (file, base, _) = kept();
    let found = |offset| DigestCache::below(&base).get(&key_of(&file), offset).is_some();
    assert!(found(OFFSET) && found(OFFSET - 1) && found(OFFSET + 1));
    for step in [-3_600_000_000_000, -5_000_000, 5_000_000, 3_600_000_000_000] {
        assert!(!found(OFFSET + step), "{step}");
    }
}

#[test]
fn the_checksum_is_the_published_one_of_foobar() {
    assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn an_entry_that_is_not_whole_is_not_believed() {
    let (file, base, entry) = kept();
    let good = std::fs::read(&entry).unwrap();
    for length in [0, 1, CHECKED, ENTRY - 1] {
        std::fs::write(&entry, &good[..length]).unwrap();
        assert_ignored_and_replaced(&file, &base, &entry, "cut");
    }
    std::fs::write(&entry, [&good[..], b"\n"].concat()).unwrap();
    assert_ignored_and_replaced(&file, &base, &entry, "extended");
    std::fs::write(&entry, [0; ENTRY]).unwrap();
    assert_ignored_and_replaced(&file, &base, &entry, "zeros");
    let (boot, key) = (boot().unwrap(), key_of(&file));
    for index in 0..ENTRY {
        let mut damaged: [u8; ENTRY] = good[..].try_into().unwrap();
        damaged[index] ^= 1;
        assert_eq!(decode(&damaged, boot, &key), None, "{index}");
    }
    // A valid checksum does not make the entry of another layout, boot or file valid.
    for index in 0..NAMED {
        let mut other: [u8; ENTRY] = good[..].try_into().unwrap();
        other[index] ^= 1;
        let sum = checksum(&other[..CHECKED]);
        other[CHECKED..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(decode(&other, boot, &key), None, "{index}");
    }
    assert_eq!(decode(&good[..].try_into().unwrap(), boot, &key), Some(entry_of(key)));
}

#[test]
fn what_is_no_private_regular_file_is_not_read_and_not_followed() {
    let (file, base, entry) = kept();
    let good = base.join("good");
    std::fs::copy(&entry, &good).unwrap();
    set_mode(&good, 0o600);

    let replace = |what: &str, make: &dyn Fn()| {
        std::fs::remove_file(&entry).unwrap();
        make();
        assert_ignored_and_replaced(&file, &base, &entry, what);
    };
    replace("link", &|| symlink(&good, &entry).unwrap());
    assert_eq!(std::fs::read(&good).unwrap(), std::fs::read(&entry).unwrap());
    replace("dangling link", &|| symlink(base.join("nothing"), &entry).unwrap());
    assert!(!base.join("nothing").exists());
    replace("fifo", &|| make_fifo(&entry));
    replace("device", &|| symlink("/dev/zero", &entry).unwrap());
    replace("huge", &|| File::create(&entry).unwrap().set_len(1 << 40).unwrap());
    for open in [0o640, 0o604, 0o620, 0o602] {
        replace("open to others", &|| {
            std::fs::copy(&good, &entry).unwrap();
            set_mode(&entry, open);
        });
    }
    std::fs::remove_file(&entry).unwrap();
    std::fs::copy(&good, &entry).unwrap();
    if gave_away(&entry) {
        assert_ignored_and_replaced(&file, &base, &entry, "of another user");
    }

    std::fs::remove_file(&entry).unwrap();
    std::fs::create_dir(&entry).unwrap();
    assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 3), "a directory stays");
    assert_eq!(std::fs::read_dir(entry.parent().unwrap()).unwrap().count(), 1, "and nothing beside it");
}

#[test]
fn what_a_writer_left_unfinished_is_replaced_once_it_is_old() {
    type Leave = fn(&Path);
    let left: [Leave; 3] =
        [|path| std::fs::write(path, "half").unwrap(), make_fifo, |path| symlink("/dev/zero", path).unwrap()];
    for leave in left {
        let (file, base, entry) = kept();
        std::fs::remove_file(&entry).unwrap();
        let unfinished = entry.with_extension("new");
        leave(&unfinished);
        assert_eq!(
            (read_below(&base, &file), read_below(&base, &file)),
            (3, 3),
            "another one may be writing"
        );
        assert!(unfinished.symlink_metadata().is_ok());
        let long_ago = rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: long_ago, last_modification: long_ago };
        rustix::fs::utimensat(CWD, &unfinished, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        assert_eq!(read_below(&base, &file), 3, "it is removed");
        assert_eq!((read_below(&base, &file), read_below(&base, &file)), (3, 0), "and the next one is kept");
    }
}

#[test]
fn concurrent_writers_of_one_place_never_show_a_torn_entry() {
    let (file, base, entry) = kept();
    let key = key_of(&file);
    let in_same_place = |inode| {
        let other = FileKey { file: [key.file[0], inode], ..key };
        (slot(&other) == slot(&key)).then_some(other)
    };
    let entries: Vec<_> = (0..)
        .filter_map(in_same_place)
        .zip([1_u8, 2, 3, 4])
        .map(|(key, byte)| Entry { digests: digests_of_bytes(&[byte]), ..entry_of(key) })
        .collect();
    watched(move || {
        std::thread::scope(|scope| {
            for entry in &entries {
                let cache = DiskCache::below(base.clone());
                scope.spawn(move || (0..200).for_each(|_| cache.write(entry)));
            }
            for _ in 0..2 {
                let cache = DiskCache::below(base.clone());
                let entries = &entries;
                scope.spawn(move || {
                    for entry in entries.iter().cycle().take(1000) {
                        let found = cache.read(&entry.key);
                        assert!(found.is_none() || found == Some(*entry));
                    }
                });
            }
        });
        let cache = DiskCache::below(base);
        assert_eq!(entries.iter().filter(|entry| cache.read(&entry.key).is_some()).count(), 1);
    });
    assert_eq!(std::fs::read_dir(entry.parent().unwrap()).unwrap().count(), 1, "nothing is left unfinished");
    drop(file);
}

/// Looks a file's digests up in the cache of its process, and prints how many bytes it had to read.
#[test]
#[ignore = "started by the next test in another process"]
fn in_another_process() {
    let Some(path) = std::env::var_os("RUNNING_PROCESS_TEST_FILE") else { return };
    let key = FileKey::of(&std::fs::metadata(path).unwrap());
    let cache = DigestCache::of_process();
    let read = read_with(cache, key);
    assert_eq!(read_with(cache, key), 0);
    println!("read {read} bytes");
}

#[test]
fn another_process_finds_what_one_kept_where_the_environment_says() {
    let file = TestFile::with(b"abc");
    let inside = |name: &str| file.directory.path().join(name);
    std::fs::create_dir(inside("user")).unwrap();
    let read = |cache_home: Option<&Path>, home: Option<&Path>| {
        let mut command = own_process::command(in_another_process);
        command.arg("--nocapture").current_dir(file.directory.path());
        command.env("RUNNING_PROCESS_TEST_FILE", &file.path);
        for (variable, value) in [("XDG_CACHE_HOME", cache_home), ("HOME", home)] {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        let output = watched(move || command.output().unwrap());
        own_process::assert_passed(&output);
        String::from_utf8_lossy(&output.stdout).contains("read 3 bytes")
    };
    let (xdg, home) = (inside("xdg"), inside("user"));
    assert!(read(Some(&xdg), None));
    assert!(!read(Some(&xdg), None));
    assert!(!read(Some(&xdg), Some(&home)), "the first variable wins");
    assert!(!home.join(".cache").exists());

    assert!(read(None, Some(&home)));
    assert!(!read(None, Some(&home)));
    assert!(!read(Some(Path::new("")), Some(&home)), "an empty variable is none");
    assert!(!read(Some(Path::new("relative")), Some(&home)), "a relative one is ignored");
    assert!(!inside("relative").exists());

    for _ in 0..2 {
        assert!(read(None, None), "nowhere to keep anything");
        assert!(read(None, Some(Path::new("user"))), "a relative home is none");
        assert!(read(None, Some(&inside("missing"))), "a missing home is not made");
    }
    assert!(!inside("missing").exists());
}

#[test]
fn a_program_with_the_rights_of_another_user_or_group_acts_for_another() {
    let [own, other] = [1000, 0].map(Uid::from_raw);
    let [own_group, other_group] = [1000, 0].map(Gid::from_raw);
    assert!(!acts_for_another((own, own), (own_group, own_group)));
    assert!(acts_for_another((own, other), (own_group, own_group)));
    assert!(acts_for_another((own, own), (own_group, other_group)));
}
