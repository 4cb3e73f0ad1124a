//! The program of a service, its version and the file that names it.

use crate::commands::doctor::facts::Facts;
use crate::commands::doctor::finding::Finding;
use crate::commands::doctor::kinds;
use crate::text::shell_word;
use running_process::broker::backend_lifecycle::verify::ImageState;
use running_process::broker::service::{Decision, KeepReason, ProgramState, RefuseReason, ServiceState};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(service_file(facts));
    found.extend(program(facts));
    found.extend(temporary(facts));
    if let Ok(ServiceState::Live(daemon)) = &facts.state
        && daemon.proof().image == ImageState::ReplacedOnDisk
    {
        let identity = &daemon.daemon_process;
        let what = format!(
            "process {} runs a program that was replaced or removed at {} since",
            identity.pid,
            identity.exe_path.display()
        );
        let finding = facts.finding(&kinds::PROGRAM_REPLACED, what).pid(Some(identity.pid));
        let restart = format!("running-process restart {}", facts.selected.argument);
        found.push(finding.path(&identity.exe_path).remedy(restart));
    }
    found.extend(facts.decision.as_ref().and_then(|decision| version(facts, decision)));
    found
}

fn service_file(facts: &Facts) -> Option<Finding> {
    let (path, fault) = facts.writable_file.as_ref()?;
    let what = format!("the service's file is not yours alone: {} {fault}", path.display());
    Some(
        facts
            .finding(&kinds::SERVICE_FILE_WRITABLE, what)
            .path(path)
            .remedy(format_args!("chmod go-w {}", shell_word(path))),
    )
}

fn program(facts: &Facts) -> Option<Finding> {
    let (kind, path, what) = match &facts.examination.as_ref().ok()?.program {
        ProgramState::Missing(path) => (&kinds::PROGRAM_MISSING, path, "is not there"),
        ProgramState::NotExecutable(path) => (&kinds::PROGRAM_NOT_EXECUTABLE, path, "cannot be run"),
        _ => return None,
    };
    let finding =
        facts.finding(kind, format!("the program {} of the service {what}", path.display())).path(path);
    Some(match kind.id {
        "program_not_executable" if path.is_file() => {
            finding.remedy(format_args!("chmod u+x {}", shell_word(path)))
        }
        _ => finding,
    })
}

fn temporary(facts: &Facts) -> Option<Finding> {
    let temporary = facts.temporary_program.as_ref()?;
    let what = format!("the program {} is in {}", temporary.program.display(), temporary.place);
    Some(facts.finding(&kinds::TEMPORARY_PROGRAM, what).pid(temporary.pid).path(&temporary.program))
}

fn version(facts: &Facts, decision: &Decision) -> Option<Finding> {
    let kind = match decision {
        Decision::Keep { reason: KeepReason::Same | KeepReason::ClientWithoutVersion, .. } => return None,
        Decision::Refuse { reason: RefuseReason::TooMany { .. }, .. } => &kinds::REPLACEMENT_WAR,
        _ => &kinds::OTHER_VERSION,
    };
    let restart = format!("running-process restart {}", facts.selected.argument);
    let what = format!("at the next start {decision}");
    Some(facts.finding(kind, what).pid(facts.pid()).remedy(restart))
}
