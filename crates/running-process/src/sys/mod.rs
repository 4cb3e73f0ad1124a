//! The operating system's knowledge of processes, behind one portable surface.
//!
//! All unsafe code is in this module. One file per system implements the same items (`imp`), and `fallback` returns
//! "unsupported" where a system has no implementation. The module knows nothing of the broker: callers give it process
//! ids and get paths, handles and [`std::io::Error`]s.
//!
//! Start with [`ProcessHandle::open`]. Every question about another process goes through a handle, because a process id
//! alone may mean another process a moment later.

#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux.rs"]
mod imp;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
#[path = "bsd.rs"]
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
#[path = "fallback.rs"]
mod imp;

pub(crate) mod background;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
mod bsd_peer;
mod cgroup;
#[cfg(all(
    unix,
    not(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))
))]
mod fallback_peer;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
#[path = "bsd_growth.rs"]
mod growth_watch;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux_growth.rs"]
mod growth_watch;
mod image;
#[cfg(unix)]
mod inherited;
#[cfg(target_vendor = "apple")]
mod launchd;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux_clock;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux_lock;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux_peer;
mod local_sockets;
mod lock_holder;
mod machine;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
#[path = "bsd_watch.rs"]
mod name_watch;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux_watch.rs"]
mod name_watch;
mod not_passed;
mod notification;
#[cfg(unix)]
mod notify;
#[cfg(windows)]
#[path = "notify_windows.rs"]
mod notify;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod notify_senders;
#[cfg(unix)]
mod passed;
mod peer;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
mod peer_unsupported;
mod process;
mod random;
#[cfg(unix)]
mod read_only;
#[cfg(unix)]
mod readiness;
#[cfg(unix)]
mod session;
mod spawn;
mod terminal;
mod termination;
#[cfg(test)]
mod tests;
#[cfg(unix)]
mod user;
#[cfg(unix)]
mod user_entry;
#[cfg(all(windows, feature = "tokio"))]
pub(crate) mod windows_async;
#[cfg(windows)]
mod windows_folder;
#[cfg(windows)]
mod windows_overlapped;
#[cfg(windows)]
pub(crate) mod windows_pipe;
#[cfg(windows)]
pub(crate) mod windows_security;
#[cfg(windows)]
pub(crate) mod windows_wait;

#[cfg(any(target_os = "macos", target_os = "freebsd"))]
pub(crate) use bsd_peer::{peer_of, user_of};
pub(crate) use cgroup::{own_cgroup, process_cgroup};
#[cfg(all(
    unix,
    not(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))
))]
pub(crate) use fallback_peer::{peer_of, user_of};
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
pub(crate) use growth_watch::GrowthWatch;
pub(crate) use image::ProcessImage;
#[cfg(unix)]
pub(crate) use inherited::{Inherited, inherited_lock};
#[cfg(target_vendor = "apple")]
pub(crate) use launchd::{LAUNCHD_SOCKET, launchd_sockets};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux_clock::{time_since_boot, wall_clock};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux_lock::lock_holder;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use linux_peer::{forget_writers, name_writers, peer_of, recv_named, user_of};
pub(crate) use local_sockets::SocketFile;
pub use local_sockets::{AcceptQueue, ListeningSocket, ProcessDescription, SocketName, listening_sockets};
pub(crate) use lock_holder::LockHolder;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use lock_holder::lock_holder;
pub(crate) use machine::machine_id;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
pub(crate) use name_watch::NameWatch;
pub use not_passed::NotPassed;
#[cfg(windows)]
pub(crate) use notify::session_of;
#[cfg(any(unix, windows))]
pub(crate) use notify::{NotifySocket, notify};
#[cfg(unix)]
pub(crate) use passed::{Passed, PassedDescriptors};
#[allow(unused_imports)]
pub(crate) use peer::{Peer, PeerError, PeerEvidence, PeerUser, PidfdPolicy};
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) use peer_unsupported::{forget_writers, name_writers, recv_named};
pub(crate) use process::{
    ProcessHandle, boot_id, own_image, own_pid_namespace, own_start_time, process_image,
};
pub(crate) use random::random;
#[cfg(unix)]
pub(crate) use read_only::read_only;
#[cfg(unix)]
pub(crate) use readiness::wait_ready;
#[cfg(all(unix, feature = "tokio"))]
pub(crate) use readiness::{watch, watch_owned};
#[cfg(unix)]
pub(crate) use session::session_of;
#[cfg(feature = "tokio")]
pub(crate) use spawn::ChildProcess;
#[cfg(all(test, any(target_os = "linux", target_os = "macos", target_os = "freebsd")))]
pub(crate) use spawn::spawn_by_launcher;
pub(crate) use spawn::{ProcessEnd, SpawnPlan, Spawned, is_lost, spawn_detached};
pub(crate) use terminal::process_terminal;
pub use termination::OnTermination;

#[cfg(unix)]
pub(crate) use user::{UnmappedUser, own_user};
#[cfg(unix)]
pub(crate) use user_entry::{home_directory, user_entry};
#[cfg(windows)]
pub(crate) use windows_folder::home_directory;
