//! The files of a service.

use super::state::sentence;
use crate::commands::doctor::facts::Facts;
use crate::commands::doctor::finding::Finding;
use crate::commands::doctor::kinds::{self, Kind};
use crate::text::{move_away, shell_word};
use running_process::broker::backend_sdk::{BindError, IdentityFileError};
use running_process::broker::service::{Examination, FindError, ServiceManager};
use std::io::{self, ErrorKind};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Ok(examination) = &facts.examination else { return Vec::new() };
    let mut found = Vec::new();
    match &facts.state {
        Err(FindError::IdentityFile { source, .. }) => found.extend(identity_file(facts, source)),
        Err(FindError::Lock(error)) => found.extend(lock(facts, error)),
        _ => {}
    }
    if let Some(kind) = facts.not_a_socket {
        let path = &examination.socket;
        let what = format!("{} is {kind}, where the socket should be", path.display());
        found.push(facts.finding(&kinds::NOT_A_SOCKET, what).path(path).remedy(move_away(path)));
    }
    found.extend(log(facts, examination));
    found.extend(activation(facts));
    found
}

fn activation(facts: &Facts) -> Option<Finding> {
    let path = facts.directory().join("activation");
    match &facts.activation {
        Err(FindError::Activation(error)) => {
            let finding = facts.finding(&kinds::ACTIVATION_UNUSABLE, sentence(error)).path(&path);
            Some(finding.remedy(format_args!("rm {}", shell_word(&path))))
        }
        Ok(Some(activation)) if facts.is_listened_at == Some(false) => {
            let what = format!("{activation} is to start the daemon, and does not listen at its socket");
            let finding = facts.finding(&kinds::ACTIVATION_OFF, what).path(&path);
            Some(match activation.manager {
                ServiceManager::Systemd => {
                    finding.remedy(format_args!("systemctl --user enable --now {}", activation.unit))
                }
                _ => finding,
            })
        }
        _ => None,
    }
}

/// Returns the finding about an identity file that cannot be used; `None` if the directory explains it.
fn identity_file(facts: &Facts, error: &io::Error) -> Option<Finding> {
    let path = facts.directory().join("identity.json");
    let fault = error.get_ref().and_then(|error| error.downcast_ref::<IdentityFileError>());
    let kind = match fault {
        Some(IdentityFileError::NotARegularFile) => &kinds::IDENTITY_FILE_NOT_REGULAR,
        Some(IdentityFileError::TooLarge) => &kinds::IDENTITY_FILE_TOO_LARGE,
        Some(IdentityFileError::Malformed(_)) => &kinds::IDENTITY_FILE_MALFORMED,
        Some(IdentityFileError::ForeignOwner { .. }) => &kinds::IDENTITY_FILE_FOREIGN,
        Some(IdentityFileError::WritableByOthers { .. }) => &kinds::IDENTITY_FILE_WRITABLE,
        Some(
            IdentityFileError::ForeignDirectory { .. } | IdentityFileError::DirectoryWritableByOthers { .. },
        ) => {
            return None;
        }
        None if error.kind() == ErrorKind::PermissionDenied && facts.may_read_identity => {
            let what =
                format!("this process may not read {}, which its mode and owner allow", path.display());
            return Some(facts.finding(&kinds::SANDBOX, what).path(&path));
        }
        _ => return Some(facts.finding(&kinds::STATE_UNKNOWN, sentence(error)).path(&path)),
    };
    let what = format!("the identity file {} is {}", path.display(), predicate(kind, error));
    Some(facts.finding(kind, what).path(&path).remedy(move_away(&path)))
}

/// Returns what is said of an identity file.
fn predicate(kind: &Kind, error: &io::Error) -> String {
    if kind == &kinds::IDENTITY_FILE_WRITABLE {
        format!("writable by others: {error}")
    } else {
        error.to_string()
    }
}

fn lock(facts: &Facts, error: &BindError) -> Option<Finding> {
    let path = facts.directory().join("lock");
    match error {
        BindError::NotALock { .. } | BindError::Lock { .. } => {
            let finding = facts.finding(&kinds::LOCK_UNUSABLE, sentence(error)).path(&path);
            Some(finding.remedy(move_away(&path)))
        }
        BindError::PermissionDenied { .. } | BindError::Unavailable { .. } => {
            Some(facts.finding(&kinds::SANDBOX, sentence(error)).path(&path))
        }
        // Told of the file system and of the directory.
        BindError::NoLocks { .. } | BindError::Directory { .. } => None,
        _ => Some(facts.finding(&kinds::STATE_UNKNOWN, sentence(error)).path(&path)),
    }
}

fn log(facts: &Facts, examination: &Examination) -> Option<Finding> {
    // The daemon looks at its log at intervals, and may be about to.
    let bound = examination.log_limit + examination.log_limit / 10;
    let (path, length) = facts.log.as_ref().filter(|(_, length)| *length > bound)?;
    let what = format!(
        "the log {} and the one before it have {length} bytes together, over the limit of {}",
        path.display(),
        examination.log_limit
    );
    let restart = format!("running-process restart {}", facts.selected.argument);
    Some(facts.finding(&kinds::LOG_OVER_LIMIT, what).path(path).remedy(restart))
}
