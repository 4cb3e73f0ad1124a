//! The environment of a daemon, and its working directory.

use crate::broker::service::definition::Service;
use crate::broker::service::paths::ServicePaths;
use crate::broker::service::variables;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Variables of the caller that are passed on: they change texts and times, not what a daemon does.
#[cfg(unix)]
const PASSED: [&str; 3] = ["LANG", "LC_ALL", "TZ"];
/// Variables that name the caller's own relations to its starter.
const OWN_RELATIONS: [&str; 7] = [
    variables::NOTIFY,
    variables::LOCK,
    variables::HANDOVER,
    variables::KEY,
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];
/// Variables without which programs do not run here; all of them are the user's or the machine's.
#[cfg(windows)]
const PASSED: [&str; 25] = [
    "ALLUSERSPROFILE",
    "APPDATA",
    "CommonProgramFiles",
    "CommonProgramFiles(x86)",
    "COMPUTERNAME",
    "ComSpec",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "NUMBER_OF_PROCESSORS",
    "OS",
    "PATH",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "ProgramData",
    "ProgramFiles",
    "ProgramFiles(x86)",
    "PUBLIC",
    "SystemDrive",
    "SystemRoot",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
    "windir",
];

/// Returns all variables of the daemon of `service`, sorted by name.
pub(in crate::broker::service) fn of(
    service: &Service,
    paths: &ServicePaths,
    notify: Option<&Path>,
    is_successor: bool,
) -> Vec<(OsString, OsString)> {
    let mut variables = baseline(service);
    add_service(service, paths, &mut variables);
    #[cfg(unix)]
    if service.in_own_scope {
        // By that systemd-run finds the service manager of the user.
        let runtime = format!("/run/user/{}", rustix::process::geteuid().as_raw());
        variables.entry("XDG_RUNTIME_DIR".into()).or_insert_with(|| runtime.into());
    }
    if let Some(notify) = notify {
        variables.insert(variables::NOTIFY.into(), notify.into());
    }
    if is_successor {
        variables.insert(variables::HANDOVER.into(), "1".into());
    }
    #[cfg(unix)]
    variables.insert(variables::LOCK.into(), variables::LOCK_DESCRIPTOR.into());
    variables.into_iter().collect()
}

/// Returns the variables of the daemon of `service` if a service manager starts it, sorted by name: those that depend on no client.
pub(in crate::broker::service) fn of_managed(
    service: &Service,
    paths: &ServicePaths,
) -> Vec<(OsString, OsString)> {
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    #[cfg(unix)]
    variables.extend(of_user());
    add_service(service, paths, &mut variables);
    variables.into_iter().collect()
}

/// Returns all variables of the daemon behind the front of `service`, sorted by name.
#[cfg(feature = "tokio")]
pub(in crate::broker::service) fn of_fronted(service: &Service) -> Vec<(OsString, OsString)> {
    let mut variables = baseline(service);
    variables.extend(service.environment.iter().cloned());
    variables.into_iter().collect()
}

/// Returns the variables that depend neither on the service's place nor on its own ones.
fn baseline(service: &Service) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    if service.inherits_environment {
        variables.extend(std::env::vars_os());
        for name in OWN_RELATIONS {
            variables.remove(OsStr::new(name));
        }
    } else {
        variables
            .extend(PASSED.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))));
        #[cfg(unix)]
        variables.extend(of_user());
    }
    variables
}

/// Adds the variables that the service sets, and those that name its place.
fn add_service(service: &Service, paths: &ServicePaths, variables: &mut BTreeMap<OsString, OsString>) {
    variables.extend(service.environment.iter().cloned());
    variables.insert(variables::SERVICE.into(), service.name.clone().into());
    if let Some(root) = std::env::var_os(variables::ROOT).filter(|root| !root.is_empty()) {
        // The daemon finds other services as this client does.
        variables.insert(variables::ROOT.into(), root);
    }
    variables.insert(variables::STARTED_ROOT.into(), paths.root().into());
    if let Some(key) = &service.key {
        variables.insert(variables::KEY.into(), key.clone());
    }
}

#[cfg(unix)]
fn of_user() -> Vec<(OsString, OsString)> {
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut variables = vec![("PATH".into(), PATH.into())];
    if let Ok(user) = crate::sys::user_entry() {
        variables.push(("HOME".into(), user.home.into()));
        variables.push(("USER".into(), user.name.clone()));
        variables.push(("LOGNAME".into(), user.name));
        variables.push(("SHELL".into(), user.shell.into()));
    }
    variables
}

/// Returns the working directory of a daemon: one that is always there and that no user wants to remove.
pub(in crate::broker::service) fn default_directory() -> PathBuf {
    #[cfg(unix)]
    return PathBuf::from("/");
    #[cfg(not(unix))]
    std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from(r"C:\"), PathBuf::from)
}
