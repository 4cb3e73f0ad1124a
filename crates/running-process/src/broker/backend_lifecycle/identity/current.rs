//! The identity of the process that runs this code.

use super::daemon_process::DaemonProcess;
use super::digests::ExeDigests;
use super::error::IdentityError;
use super::origin::{INSTANCE_ID_BYTES, Origin};
use crate::broker::backend_lifecycle::digest::{
    Before, DigestCache, DigestError, GoOn, Wanted, digests_while,
};
use crate::broker::protocol::Endpoint;
use crate::sys;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

impl DaemonProcess {
    /// Returns the identity of this process, which listens on `ipc_endpoint`. On Unix a relative path is made absolute.
    ///
    /// This digests the executable: where the platform allows it, the image that this process runs, even if another
    /// file has taken its path since. On Linux the digests of a running image are remembered where nothing can change
    /// it unnoticed: in this process, and on local file systems in `running-process/digests` below `$XDG_CACHE_HOME` or
    /// `~/.cache`.
    ///
    /// The identity has an origin wherever the system tells when it started this process.
    ///
    /// # Errors
    ///
    /// The executable cannot be read or changes meanwhile, or the operating system does not tell which boot this is, or
    /// it has no randomness.
    pub fn current_process(
        ipc_endpoint: Endpoint,
        idle_timeout_secs: Option<u32>,
    ) -> Result<Self, IdentityError> {
        let idle_timeout = idle_timeout_secs.map(|seconds| Duration::from_secs(seconds.into()));
        Self::current_process_while(ipc_endpoint, idle_timeout, &|| true)
    }

    /// Returns the identity as [`current_process`](Self::current_process) does, unless `go_on`, which is called before
    /// each read of the executable, returns `false`.
    ///
    /// # Errors
    ///
    /// Those of [`current_process`](Self::current_process); if `go_on` ends the reading, that the executable cannot be
    /// read.
    pub(crate) fn current_process_while(
        ipc_endpoint: Endpoint,
        idle_timeout: Option<Duration>,
        go_on: &GoOn<'_>,
    ) -> Result<Self, IdentityError> {
        // These come first, because digesting takes long.
        let boot_id = sys::boot_id().map_err(IdentityError::BootId)?;
        let before = Before::now();
        let image = sys::own_image().map_err(IdentityError::Executable)?;
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|_| IdentityError::ClockBeforeEpoch)?;
        let exe_digests = own_digests(&image.file, before, go_on)
            .map_err(|error| IdentityError::Executable(error.into()))?;
        Ok(Self {
            pid: std::process::id(),
            exe_path: image.path,
            exe_digests,
            boot_id,
            ipc_endpoint: ipc_endpoint.absolute(),
            started_at_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
            idle_timeout_secs: idle_timeout
                .map(|timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX)),
            origin: own_origin()?,
            version: None,
            build: None,
            fronts: None,
        })
    }
}

impl Endpoint {
    /// Returns the endpoint as every process on this machine names it: on Unix a relative path is made absolute.
    pub(crate) fn absolute(mut self) -> Self {
        // A path that cannot be made absolute, such as an empty one, is refused later, where it is used.
        if cfg!(unix)
            && let Ok(path) = std::path::absolute(&self.path)
            && let Ok(path) = path.into_os_string().into_string()
        {
            self.path = path;
        }
        self
    }
}

/// Returns the digests of the image that this process runs, which was opened after the moment `before`.
fn own_digests(image: &File, before: Before, go_on: &GoOn<'_>) -> Result<ExeDigests, DigestError> {
    let cache = DigestCache::of_process();
    if let Some(digests) = cache.find_own(&image.metadata()?) {
        return Ok(digests);
    }
    let read = digests_while(image, Wanted::Both, go_on)?;
    cache.keep_own(image, &read, before);
    Ok(read.digests)
}

/// Returns the origin; `None` where the system does not tell when it started this process.
fn own_origin() -> Result<Option<Origin>, IdentityError> {
    let Ok(start_time) = sys::own_start_time() else { return Ok(None) };
    Ok(Some(Origin {
        start_time,
        instance_id: own_instance_id().map_err(IdentityError::InstanceId)?,
        pid_namespace: sys::own_pid_namespace().ok().flatten(),
        inherited_listener: false,
    }))
}

/// Returns the same id for every call in one process. A forked child makes its own.
fn own_instance_id() -> io::Result<[u8; INSTANCE_ID_BYTES]> {
    static OWN: Mutex<Option<(u32, [u8; INSTANCE_ID_BYTES])>> = Mutex::new(None);
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = std::process::id();
    if let Some((owner, id)) = *own
        && owner == pid
    {
        return Ok(id);
    }
    let id = sys::random()?;
    *own = Some((pid, id));
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn an_endpoint_means_the_same_everywhere() {
        let absolute =
            |path: &str| Endpoint { namespace_id: "test".into(), path: path.into() }.absolute().path;
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("a/test.sock"), here.join("a/test.sock").to_str().unwrap());
        assert_eq!(absolute("/run/test.sock"), "/run/test.sock");
        assert_eq!(absolute(""), "");
    }

    #[test]
    fn this_process_is_one_instance_with_the_origin_that_the_system_tells() {
        let identity = || {
            let endpoint = Endpoint { namespace_id: "test".into(), path: "test.sock".into() };
            DaemonProcess::current_process(endpoint, None).unwrap()
        };
        let origin = identity().origin.unwrap();
        assert_eq!(identity().origin.as_ref(), Some(&origin));
        assert_eq!(origin.start_time, sys::own_start_time().unwrap());
        assert_eq!(origin.pid_namespace, sys::own_pid_namespace().unwrap());
        let [first, rest @ ..] = origin.instance_id;
        assert_ne!(rest, [first; INSTANCE_ID_BYTES - 1], "random bytes differ");
        assert!(!origin.inherited_listener);
        let inherited = identity().with_inherited_listener().origin.unwrap();
        assert_eq!(inherited, Origin { inherited_listener: true, ..origin });
    }
}
