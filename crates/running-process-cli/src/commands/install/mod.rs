//! `install`: writes the units by which a service manager listens for a service and starts its daemon.

mod launchd;
pub(super) mod started_by;
mod systemd;
mod unit_file;
mod units;

use super::failed;
use super::status::key;
use crate::cli::InstallArgs;
use crate::failure::Failure;
use crate::failure::advice::{Advice, service as advice};
use crate::output::Output;
use crate::services::{self, Selected, no_place};
use crate::text::safe;
use crate::verdict::Verdict;
use running_process::broker::service::{
    Deadline, FindError, ServiceManager, ServiceState, configuration_directory,
};
use serde_json::json;
use std::time::Duration;
use unit_file::UnitFile;
use units::Units;

/// Longest look at a daemon that may run already.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn run(arguments: &InstallArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let selected = services::select(&arguments.service)?;
    let manager = service_manager().ok_or_else(unsupported)?;
    let units = units(manager, &selected)?;
    if arguments.print {
        return print(&units, &selected, output);
    }
    // Before anything is changed: a file of another author stays.
    units.files.iter().try_for_each(UnitFile::check)?;
    if arguments.remove { remove(&units, &selected, output) } else { install(&units, &selected, output) }
}

/// Returns the service manager of users on this system.
fn service_manager() -> Option<ServiceManager> {
    if cfg!(target_os = "linux") {
        Some(ServiceManager::Systemd)
    } else if cfg!(target_os = "macos") {
        Some(ServiceManager::Launchd)
    } else {
        None
    }
}

fn unsupported() -> Failure {
    let error = "this system has no service manager that passes a socket to a user's daemon";
    Failure::new(error, Advice::undecided("unsupported"))
        .hint("nothing is needed: the first client starts the daemon, as `running-process start` does")
}

fn units(manager: ServiceManager, selected: &Selected) -> Result<Units, Failure> {
    let start = selected.service.managed_start().map_err(|error| failed::start(error, selected))?;
    let configuration = configuration_directory().map_err(no_place)?;
    match manager {
        ServiceManager::Launchd => launchd::units(selected, &start, &configuration),
        _ => systemd::units(selected, &start, &configuration),
    }
}

fn print(units: &Units, selected: &Selected, output: &mut Output) -> Result<Verdict, Failure> {
    for file in &units.files {
        output.line(format_args!("# {}\n{}\n", safe(file.path.display()), safe_lines(&file.text)))?;
    }
    tell(units, selected, "printed", &units.enable, output)
}

fn install(units: &Units, selected: &Selected, output: &mut Output) -> Result<Verdict, Failure> {
    let runs = matches!(
        selected.service.find(Deadline::after(LOOK_TIMEOUT)),
        Ok(ServiceState::Live(_) | ServiceState::Busy { .. })
    );
    for file in &units.files {
        let is_new = file.write()?;
        let done = if is_new { "wrote" } else { "unchanged" };
        output.line(format_args!("{done}: {}", safe(file.path.display())))?;
    }
    selected
        .service
        .record_activation(Some(&units.activation))
        .map_err(|error| not_recorded(error, &selected.argument))?;
    let mut enable = units.enable.clone();
    if runs {
        // It has the socket.
        enable.insert(0, format!("running-process stop {}", selected.argument));
    }
    output.line("to enable it:")?;
    for line in &enable {
        output.line(format_args!("  {}", safe(line)))?;
    }
    output.line(format_args!(
        "then {} starts the daemon with the first connection; until then clients start it",
        units.activation.manager
    ))?;
    tell(units, selected, "installed", &enable, output)
}

fn remove(units: &Units, selected: &Selected, output: &mut Output) -> Result<Verdict, Failure> {
    let mut removed = false;
    for path in units.files.iter().map(|file| &file.path).chain(&units.link) {
        if unit_file::remove(path)? {
            removed = true;
            output.line(format_args!("removed: {}", safe(path.display())))?;
        }
    }
    selected.service.record_activation(None).map_err(|error| not_recorded(error, &selected.argument))?;
    if !removed {
        output.line(format_args!("not installed: {} has no units", safe(&selected.label)))?;
        return tell(units, selected, "not_installed", &[], output);
    }
    output.line("to end what is loaded still:")?;
    for line in &units.disable {
        output.line(format_args!("  {}", safe(line)))?;
    }
    tell(units, selected, "removed", &units.disable, output)
}

fn tell(
    units: &Units,
    selected: &Selected,
    outcome: &str,
    commands: &[String],
    output: &mut Output,
) -> Result<Verdict, Failure> {
    output.object(json!({
        "service": selected.service.name(),
        "key": key(&selected.service),
        "outcome": outcome,
        "manager": units.activation.manager.name(),
        "unit": units.activation.unit,
        "files": units.files.iter().map(|file| json!({
            "path": file.path.display().to_string(), "text": file.text,
        })).collect::<Vec<_>>(),
        "commands": commands,
    }))?;
    Ok(Verdict::Yes)
}

fn not_recorded(error: FindError, service: &str) -> Failure {
    let advice = advice::find(&error, service);
    Failure::new(error, advice).context("the units are not recorded in the service's directory")
}

/// Escapes the characters of each line that a terminal would obey.
fn safe_lines(text: &str) -> String {
    text.lines().map(|line| safe(line).to_string()).collect::<Vec<_>>().join("\n")
}
