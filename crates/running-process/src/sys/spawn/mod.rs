//! Start of a daemon that outlives its starter.

#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
#[path = "unix.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows.rs"]
mod imp;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "freebsd",
    windows
)))]
#[path = "unsupported.rs"]
mod imp;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
#[path = "bsd.rs"]
mod child;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux.rs"]
mod child;
#[cfg(feature = "tokio")]
mod child_process;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod daemon;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod descriptors;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod failure;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod launcher;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux_direct;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux_end;
mod lost;
mod plan;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod report;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
mod signals;
mod spawned;
#[cfg(windows)]
mod windows_text;

#[cfg(feature = "tokio")]
pub(crate) use child_process::ChildProcess;
pub(crate) use lost::is_lost;
pub(crate) use plan::{ProcessEnd, SpawnPlan};
#[cfg(all(
    test,
    any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd")
))]
pub(crate) use spawned::spawn_by_launcher;
pub(crate) use spawned::{Spawned, spawn_detached};
