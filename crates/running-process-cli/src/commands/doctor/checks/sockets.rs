//! Sockets of services to which no path leads any more.

use crate::commands::doctor::finding::Finding;
use crate::commands::doctor::kinds;
use crate::text::safe;
use running_process::broker::local_sockets::ProcessDescription;
use running_process::broker::service::ServiceSocket;
use std::fmt::Write as _;

/// Returns the finding about a socket that clients cannot reach; `None` if they can, or that cannot be told. `fix` is the command that ends a
/// process, less its number; `None` for a socket of another root than this command looks in. `details` describe the daemon.
pub(in crate::commands::doctor) fn check(
    socket: &ServiceSocket,
    label: &str,
    details: &str,
    fix: Option<&str>,
) -> Option<Finding> {
    let daemon = socket.owners.first().filter(|_| socket.is_reachable == Some(false))?;
    let directory = socket.path.parent()?;
    let (kind, fault) = if directory.is_dir() {
        (&kinds::UNREACHABLE_DAEMON, "its path leads elsewhere by now".to_owned())
    } else {
        (&kinds::VANISHED_DIRECTORY, format!("the directory {} is gone", directory.display()))
    };
    let place = if fix.is_some() { "" } else { ", which is not of the root that this command looks in" };
    let what = format!(
        "{} listens at {}{place}, and {fault}{details}",
        processes(&socket.owners),
        socket.path.display()
    );
    let kind = if fix.is_some() { kind } else { &kinds::UNREACHABLE_ELSEWHERE };
    let finding = Finding::new(kind, label, what).pid(Some(daemon.pid)).path(&socket.path);
    Some(match fix {
        Some(fix) => finding.remedy(format_args!("{fix} --fix --end {}", daemon.pid)),
        None => finding,
    })
}

/// Formats the owners of a socket: the daemon, and those that it has given a copy.
fn processes(owners: &[ProcessDescription]) -> String {
    let mut text = String::new();
    for owner in owners {
        let _infallible = write!(text, "{}process {}", if text.is_empty() { "" } else { " and " }, owner.pid);
        if let Some(program) = &owner.program {
            let _infallible = write!(text, " ({})", safe(program.display()));
        }
    }
    text
}
