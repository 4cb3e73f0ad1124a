//! The directory of a service: whether it can be used, and whether there is another one.

use super::state::sentence;
use crate::commands::doctor::facts::Facts;
use crate::commands::doctor::finding::Finding;
use crate::commands::doctor::kinds;
use crate::failure::advice::service::is_of_services;
use crate::text::{move_away, shell_word};
use running_process::broker::backend_sdk::BindError;
use running_process::broker::service::{FindError, PlaceError, PlaceFault};
use std::io::ErrorKind;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    match &facts.examination {
        Err(error) => found.push(place(facts, error)),
        Ok(examination) => {
            found.extend(examination.place.as_ref().err().map(|error| place(facts, error)));
            if let Some(directory) = examination.socket.parent()
                && facts.sockets_are_apart
            {
                let what = format!(
                    "the path {} is too long for a socket, so the sockets are in {}",
                    examination.directory.display(),
                    directory.display()
                );
                found.push(facts.finding(&kinds::LONG_PATH, what).path(directory));
            }
        }
    }
    found.extend(file_system(facts));
    for other in &facts.elsewhere {
        let what = format!(
            "process {} serves it in {}, and this command looks in {}",
            other.pid,
            other.directory.display(),
            facts.directory().display()
        );
        let root = other.directory.parent().unwrap_or(&other.directory);
        let stop = format!(
            "RUNNING_PROCESS_DIR={} running-process stop {}",
            shell_word(root),
            facts.selected.argument
        );
        found.push(
            facts
                .finding(&kinds::SECOND_PLACE, what)
                .pid(Some(other.pid))
                .path(&other.directory)
                .remedy(stop),
        );
    }
    for other in &facts.identity_files {
        let what = format!(
            "process {} is a daemon of the same name, by the identity file {}",
            other.pid,
            other.path.display()
        );
        let finding =
            facts.finding(&kinds::SECOND_IDENTITY_FILE, what).pid(Some(other.pid)).path(&other.path);
        found.push(finding.remedy(format_args!("kill {}", other.pid)));
    }
    found
}

fn place(facts: &Facts, error: &PlaceError) -> Finding {
    let path = &error.path;
    let kind = match &error.fault {
        PlaceFault::NotPrivate { .. } => &kinds::DIRECTORY_NOT_PRIVATE,
        PlaceFault::ForeignOwner { .. } => &kinds::DIRECTORY_FOREIGN,
        PlaceFault::NotADirectory => &kinds::NOT_A_DIRECTORY,
        PlaceFault::Unusable(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => &kinds::READ_ONLY,
        PlaceFault::Unusable(error) if error.kind() == ErrorKind::StorageFull => &kinds::DISK_FULL,
        _ => &kinds::NO_PLACE,
    };
    let what = match &error.fault {
        PlaceFault::NotPrivate { mode } => {
            format!("{} has mode {mode:03o}, which lets other users in", path.display())
        }
        PlaceFault::ForeignOwner { owner } => format!("{} belongs to user {owner}", path.display()),
        PlaceFault::NotADirectory => format!("{} is not a directory", path.display()),
        _ => sentence(error),
    };
    let finding = facts.finding(kind, what).path(path);
    match &error.fault {
        PlaceFault::NotPrivate { .. } if is_of_services(path) => {
            finding.remedy(format_args!("chmod 700 {}", shell_word(path)))
        }
        PlaceFault::ForeignOwner { .. } | PlaceFault::NotADirectory => finding.remedy(move_away(path)),
        _ => finding,
    }
}

fn file_system(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let directory = facts.directory();
    if let Err(FindError::Lock(error @ BindError::NoLocks { .. })) = &facts.state {
        found.push(facts.finding(&kinds::NO_LOCKS, sentence(error)).path(directory));
    }
    let Some(file_system) = &facts.file_system else { return found };
    if let Some(name) = file_system.without_sockets {
        let what = format!("{} is on a file system ({name}) that has no sockets", directory.display());
        found.push(facts.finding(&kinds::NO_SOCKETS, what).path(directory));
    }
    if file_system.is_read_only {
        let what = format!("the file system of {} cannot be written", directory.display());
        found.push(facts.finding(&kinds::READ_ONLY, what).path(directory));
    } else if file_system.is_full {
        let what = format!("the file system of {} is full", directory.display());
        let df = format!("df -h {0}; df -i {0}", shell_word(&file_system.directory));
        found.push(facts.finding(&kinds::DISK_FULL, what).path(directory).remedy(df));
    }
    found
}
