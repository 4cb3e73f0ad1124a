//! Things whose end ends a daemon.

use crate::broker::backend_handle::BackendHandle;
use crate::sys::{self, ProcessHandle};
use std::fmt;

/// Something whose end ends the daemon as well, although it has a session of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndsWith {
    /// The control group that the daemon shares with the client that started it: a limit of memory, or a service manager,
    /// ends all of its processes together. [`Service::in_own_scope`](crate::broker::service::Service::in_own_scope) starts it elsewhere.
    ControlGroup {
        /// The path of the group.
        path: String,
    },
    /// The login session of the client, where the system ends the processes of a session with it.
    LoginSession {
        /// The path of the session's scope.
        scope: String,
    },
    /// The service manager of the user, which ends with the last login: lingering is not enabled (`loginctl enable-linger`).
    UserManager,
    /// The container, or another pid namespace, in which the daemon runs.
    PidNamespace,
    /// The terminal in which the daemon was started by hand.
    Terminal {
        /// The path of the terminal.
        path: String,
    },
}

impl EndsWith {
    /// Returns the things whose end ends `daemon`, as far as the system tells. A control group counts if this process shares it.
    #[must_use]
    pub fn of_daemon(daemon: &BackendHandle) -> Vec<Self> {
        of(daemon.process())
    }
}

impl fmt::Display for EndsWith {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlGroup { path } => {
                write!(formatter, "the control group {path}, which its starter shares")
            }
            Self::LoginSession { scope } => write!(formatter, "the login session {scope}"),
            Self::UserManager => formatter.write_str("the last login of the user, who does not linger"),
            Self::PidNamespace => formatter.write_str("the container or pid namespace in which it runs"),
            Self::Terminal { path } => write!(formatter, "the terminal {path}"),
        }
    }
}

/// Returns the things whose end ends `process`, as far as the system tells: on Linux with the unified control groups.
pub(in crate::broker::service) fn of(process: &ProcessHandle) -> Vec<EndsWith> {
    let lingers = || {
        #[cfg(unix)]
        if let Ok(user) = sys::user_entry() {
            return std::path::Path::new("/var/lib/systemd/linger").join(user.name).exists();
        }
        false
    };
    let group = sys::process_cgroup(process);
    let own = sys::own_cgroup();
    // Linux gives this number to the first pid namespace.
    let is_nested = matches!(sys::own_pid_namespace(), Ok(Some(namespace)) if namespace != 0xEFFF_FFFC);
    let mut found = judge(group.as_deref(), own.as_deref(), is_nested, lingers);
    found.extend(sys::process_terminal(process).map(|path| EndsWith::Terminal { path }));
    found
}

fn judge(
    group: Option<&str>,
    own: Option<&str>,
    is_nested: bool,
    lingers: impl FnOnce() -> bool,
) -> Vec<EndsWith> {
    let mut found = Vec::new();
    if let Some(group) = group {
        let mut parts = group.split('/');
        if let Some(scope) = parts.find(|part| part.starts_with("session-")) {
            found.push(EndsWith::LoginSession { scope: scope.to_owned() });
        } else if group.split('/').any(|part| part.starts_with("user@")) && !lingers() {
            found.push(EndsWith::UserManager);
        }
        // The root of a hierarchy, or of a namespace of it, has no limit and does not end.
        if group != "/" && own == Some(group) {
            found.push(EndsWith::ControlGroup { path: group.to_owned() });
        }
    }
    if is_nested {
        found.push(EndsWith::PidNamespace);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_daemon_tells_what_it_ends_with() {
        let session = "/user.slice/user-1000.slice/session-2.scope";
        let scope = EndsWith::LoginSession { scope: "session-2.scope".to_owned() };
        let shared = |path: &str| EndsWith::ControlGroup { path: path.to_owned() };
        assert_eq!(judge(Some(session), Some(session), false, || false), [scope.clone(), shared(session)]);
        assert_eq!(judge(Some(session), Some("/other"), false, || false), [scope]);
        let app = "/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";
        assert_eq!(judge(Some(app), Some(session), false, || false), [EndsWith::UserManager]);
        assert_eq!(judge(Some(app), Some(session), false, || true), []);
        assert_eq!(judge(Some("/"), Some("/"), true, || false), [EndsWith::PidNamespace]);
        assert_eq!(judge(None, None, false, || false), []);
    }

    #[test]
    fn things_whose_end_ends_a_daemon_are_told_by_name() {
        let (path, scope) = ("/user.slice".to_owned(), "session-1.scope".to_owned());
        let told = [
            EndsWith::ControlGroup { path: path.clone() },
            EndsWith::LoginSession { scope },
            EndsWith::UserManager,
            EndsWith::PidNamespace,
            EndsWith::Terminal { path },
        ]
        .map(|thing| thing.to_string());
        let expected = [
            "the control group /user.slice, which its starter shares",
            "the login session session-1.scope",
            "the last login of the user, who does not linger",
            "the container or pid namespace in which it runs",
            "the terminal /user.slice",
        ];
        assert_eq!(told, expected);
    }
}
