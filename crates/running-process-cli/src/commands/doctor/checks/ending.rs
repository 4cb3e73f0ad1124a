//! Things whose end ends a daemon.

use crate::commands::doctor::facts::Facts;
use crate::commands::doctor::finding::Finding;
use crate::commands::doctor::kinds;
use running_process::broker::service::EndsWith;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let found = facts.ends_with.iter().filter_map(|end| {
        let kind = match end {
            EndsWith::Terminal { .. } => &kinds::ENDS_WITH_TERMINAL,
            EndsWith::LoginSession { .. } => &kinds::ENDS_WITH_SESSION,
            EndsWith::UserManager => &kinds::ENDS_WITH_USER_MANAGER,
            EndsWith::ControlGroup { .. } => &kinds::ENDS_WITH_GROUP,
            EndsWith::PidNamespace => &kinds::ENDS_WITH_CONTAINER,
            _ => return None,
        };
        let pid = facts.pid();
        let who = pid.map_or_else(|| "the daemon".to_owned(), |pid| format!("process {pid}"));
        let finding = facts.finding(kind, format!("{who} ends with {end}")).pid(pid);
        Some(match end {
            EndsWith::Terminal { .. } => finding.remedy(facts.selected.stop_and_start()),
            EndsWith::LoginSession { .. } | EndsWith::UserManager => finding.remedy("loginctl enable-linger"),
            _ => finding,
        })
    });
    found.collect()
}
