use super::upgrade::UpgradePolicy;
use super::variables;
use crate::broker::backend_lifecycle::verify::Policy;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest name of a service, in bytes.
pub const MAX_SERVICE_NAME_BYTES: usize = 64;

/// Default bound on the silence of a daemon that starts.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Default limit of a log, both files together.
const LOG_LIMIT: u64 = 10_000_000;

/// The description of a service: one value, shared by its clients and its daemon.
///
/// ```no_run
/// # use running_process::broker::service::{Deadline, Service};
/// # use std::time::Duration;
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let service = Service::new("shout")?
///     .version(env!("CARGO_PKG_VERSION"))
///     .command(std::env::current_exe()?, ["serve"])
///     .idle_timeout(Duration::from_secs(1800));
/// let daemon = service.ensure(Deadline::after(Duration::from_secs(10)))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) name: String,
    pub(super) key: Option<OsString>,
    /// The hash of a key that is not known itself.
    pub(super) key_hash: Option<String>,
    pub(super) version: String,
    pub(super) build: String,
    pub(super) command: Option<(PathBuf, Vec<OsString>)>,
    pub(super) idle_timeout: Option<Duration>,
    /// Variables that the daemon gets besides the baseline.
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) inherits_environment: bool,
    pub(super) directory: Option<PathBuf>,
    pub(super) log_limit: u64,
    pub(super) start_timeout: Duration,
    pub(super) root: Option<PathBuf>,
    pub(super) policy: Policy,
    pub(super) upgrade_policy: UpgradePolicy,
    pub(super) in_own_scope: bool,
    pub(super) runs_from_copy: bool,
}

/// The reason why a name cannot be a service's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the service name {name:?} {fault}: a name has 1 to {MAX_SERVICE_NAME_BYTES} of the characters a-z, 0-9 and -"
)]
pub struct ServiceNameError {
    /// The name as it was given.
    pub name: String,
    fault: &'static str,
}

impl Service {
    /// Returns the service `name`: 1 to [`MAX_SERVICE_NAME_BYTES`] of the characters `a-z`, `0-9` and `-`.
    ///
    /// # Errors
    ///
    /// The name is empty or too long, or has another character.
    pub fn new(name: impl Into<String>) -> Result<Self, ServiceNameError> {
        let name = name.into();
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fault = if name.is_empty() {
            "is empty"
        } else if name.len() > MAX_SERVICE_NAME_BYTES {
            "is too long"
        } else if !name.bytes().all(is_allowed) {
            "has another character"
        } else {
            return Ok(Self {
                name,
                key: None,
                key_hash: None,
                version: String::new(),
                build: String::new(),
                command: None,
                idle_timeout: None,
                environment: Vec::new(),
                inherits_environment: false,
                directory: None,
                log_limit: LOG_LIMIT,
                start_timeout: START_TIMEOUT,
                root: None,
                policy: Policy::default(),
                upgrade_policy: UpgradePolicy::default(),
                in_own_scope: false,
                runs_from_copy: false,
            });
        };
        Err(ServiceNameError { name, fault })
    }

    /// Gives each `key` a daemon of its own: one for each workspace, user or profile. Two keys are equal if their bytes are, so
    /// a path is best made canonical first.
    #[must_use]
    pub fn keyed_by(mut self, key: impl AsRef<OsStr>) -> Self {
        self.key = Some(key.as_ref().to_owned());
        self.key_hash = None;
        self
    }

    /// Sets the version: the daemon's, which its identity tells unless the daemon sets another one, and the one that clients want:
    /// [`upgrade_policy`](Self::upgrade_policy). Handles and messages show it. At most [`MAX_VERSION_BYTES`](crate::broker::backend_lifecycle::identity::MAX_VERSION_BYTES),
    /// without control characters: a daemon with another one does not serve. Default: none.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the build of the version, such as the hash of a commit, as [`version`](Self::version) sets the version. Builds have no
    /// order. Default: none.
    #[must_use]
    pub fn build(mut self, build: impl Into<String>) -> Self {
        self.build = build.into();
        self
    }

    /// Sets the command that starts the daemon: an absolute path, or a name that is looked up in the
    /// caller's `PATH`. A relative path with a directory begins in the caller's working directory.
    ///
    /// A client replaces a daemon of an older [`version`](Self::version) only if it was started from the same path. `current_exe()` is that
    /// path if upgrades replace the file there; if each version has a directory of its own, name a link to the newest one.
    #[must_use]
    pub fn command<A: Into<OsString>>(
        mut self,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.command = Some((program.into(), arguments.into_iter().map(A::into).collect()));
        self
    }

    /// Makes the daemon end after `timeout` without an open connection. Default: it never ends by itself.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets a variable in the environment of the daemon, besides the baseline: `HOME`, `USER`, `LOGNAME` and `SHELL` of the
    /// user database, a fixed `PATH`, and the caller's `LANG`, `LC_ALL` and `TZ`.
    #[must_use]
    pub fn environment_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Passes the whole environment of the client that starts the daemon. It outlives that client, and another client would
    /// have passed another one.
    #[must_use]
    pub fn inherit_environment(mut self) -> Self {
        self.inherits_environment = true;
        self
    }

    /// Sets the working directory of the daemon, an absolute path. Default: `/`, or the system's directory on Windows.
    #[must_use]
    pub fn working_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Limits the daemon's log to `bytes`, both of its files together. Default: 10 MB.
    #[must_use]
    pub fn log_limit(mut self, bytes: u64) -> Self {
        self.log_limit = bytes;
        self
    }

    /// Bounds the silence of a daemon that starts: the start fails, and the process is ended, `timeout` after it was started
    /// or last reported progress. Default: 60 seconds.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Sets the proof that clients ask of the daemon. Default: [`Policy::default`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets whether a client of this service replaces a daemon of another version. Default: one that is older than
    /// [`version`](Self::version), as [`UpgradePolicy::newer_replaces`] has it.
    #[must_use]
    pub fn upgrade_policy(mut self, policy: UpgradePolicy) -> Self {
        self.upgrade_policy = policy;
        self
    }

    /// Starts the daemon in a scope of its own, by `systemd-run --user --scope`: a control group that does not end with that of
    /// the client. The start fails where there is no `systemd-run` or no service manager of the user.
    #[must_use]
    pub fn in_own_scope(mut self) -> Self {
        self.in_own_scope = true;
        self
    }

    /// Runs the daemon from a private copy of its program on Windows, where a file that runs cannot be replaced. Other systems
    /// replace it, and run it from its own path.
    #[must_use]
    pub fn run_from_copy(mut self) -> Self {
        self.runs_from_copy = true;
        self
    }

    /// Puts the files of the service below `root`, an absolute path, in the place of the user's directory and of
    /// [`ROOT_VARIABLE`](crate::broker::service::ROOT_VARIABLE).
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether a client has started this process as the daemon of this service and key.
    pub(super) fn is_started(&self) -> bool {
        std::env::var_os(variables::SERVICE).is_some_and(|name| name == *self.name)
            && std::env::var_os(variables::KEY) == self.key
    }

    /// Returns the key; `None` if the service has one daemon for each user, or is [`known`](Self::known) only by its directory.
    #[must_use]
    pub fn key(&self) -> Option<&OsStr> {
        self.key.as_deref()
    }
}

/// Returns the absolute path of `program`, which is looked up in `PATH` if it is a bare name; `None` if it is not found there.
pub(super) fn find_program(program: &Path) -> Option<PathBuf> {
    if program.is_absolute() {
        return Some(program.to_owned());
    }
    if program.components().count() > 1 {
        return std::path::absolute(program).ok();
    }
    let path = std::env::var_os("PATH")?;
    let mut names = vec![program.to_owned()];
    if cfg!(windows) {
        let mut name = program.as_os_str().to_owned();
        name.push(".exe");
        names.push(PathBuf::from(name));
    }
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)).collect::<Vec<_>>())
        .find(|found| is_program(found))
}

/// Returns whether the file at `path` can be run.
pub(super) fn is_program(path: &Path) -> bool {
    let Ok(found) = path.metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        found.is_file() && found.permissions().mode() & 0o111 != 0
    }
    #[cfg(not(unix))]
    found.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_few_characters() {
        for name in ["a", "shout", "shout-2", &"x".repeat(64)] {
            assert_eq!(Service::new(name).unwrap().name(), name);
        }
        for (name, fault) in [
            ("", "is empty"),
            (&"x".repeat(65), "is too long"),
            ("Shout", "has another character"),
            ("a/b", "has another character"),
            ("..", "has another character"),
            ("ä", "has another character"),
        ] {
            assert_eq!(Service::new(name).unwrap_err(), ServiceNameError { name: name.to_owned(), fault });
        }
    }

    #[test]
    fn a_program_with_a_directory_is_not_looked_up_in_path() {
        let relative = Path::new("directory").join("program");
        assert_eq!(find_program(&relative), Some(std::env::current_dir().unwrap().join(relative)));
        let absolute = std::env::current_exe().unwrap();
        assert_eq!(find_program(&absolute), Some(absolute));
        assert_eq!(find_program(Path::new("there-is-no-such-program")), None);
    }
}
