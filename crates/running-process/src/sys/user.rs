//! The user of this process.

/// The reason why this process cannot tell its own user from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the user namespace of this process does not map its user, so user {uid} stands for it and for every other user; \
     map it (unshare --map-user), or run outside of that namespace"
)]
pub(crate) struct UnmappedUser {
    /// The number that the kernel shows for every user without a number of its own.
    pub uid: u32,
}

/// Returns the effective user of this process.
///
/// # Platform-specific behavior
///
/// In a user namespace of Linux a user may have no number. The kernel then shows the overflow user
/// (`user_namespaces(7)`), as for every other user without one. Root is never taken for the overflow user.
///
/// # Errors
///
/// The user of this process has no number in its user namespace.
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(clippy::unnecessary_wraps, reason = "only Linux has user namespaces")
)]
pub(crate) fn own_user() -> Result<u32, UnmappedUser> {
    let uid = rustix::process::geteuid().as_raw();
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if uid != 0 && uid == mapping::overflow_user() && !mapping::is_mapped(uid) {
        return Err(UnmappedUser { uid });
    }
    Ok(uid)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod mapping {
    use std::fs;
    use std::sync::OnceLock;

    /// The default number of the overflow user.
    const OVERFLOW_USER: u32 = 65_534;

    /// Returns the number of the overflow user. It is read once: only an administrator changes it.
    pub(super) fn overflow_user() -> u32 {
        static OVERFLOW: OnceLock<u32> = OnceLock::new();
        *OVERFLOW.get_or_init(|| {
            let content = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
            content.and_then(|content| content.trim().parse().ok()).unwrap_or(OVERFLOW_USER)
        })
    }

    /// Returns whether `uid` is a user of this process's user namespace; `false` if the map cannot be read.
    pub(super) fn is_mapped(uid: u32) -> bool {
        fs::read_to_string("/proc/thread-self/uid_map").is_ok_and(|map| maps(&map, uid))
    }

    /// Returns whether a line of `map` covers `uid`. Each line has the first number inside, the first number outside,
    /// and the count.
    fn maps(map: &str, uid: u32) -> bool {
        map.lines().any(|line| {
            let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u64>().ok());
            let (Some(Some(first)), Some(_), Some(Some(count))) =
                (numbers.next(), numbers.next(), numbers.next())
            else {
                return false;
            };
            (first..first.saturating_add(count)).contains(&u64::from(uid))
        })
    }

    #[cfg(test)]
    mod tests {
        use super::maps;

        #[test]
        fn a_user_is_mapped_if_a_line_covers_it() {
            for (map, uid, mapped) in [
                ("         0          0 4294967295\n", 65_534, true),
                ("", 65_534, false),
                ("         0       1000          1\n", 65_534, false),
                ("         0       1000          1\n", 0, true),
                ("0 1000 1\n1 100000 65536\n", 65_534, true),
                ("0 1000 1\n1 100000 65533\n", 65_534, false),
                ("0 1000\n", 0, false),
                ("garbage", 0, false),
            ] {
                assert_eq!(maps(map, uid), mapped, "{map:?}");
            }
        }
    }
}
