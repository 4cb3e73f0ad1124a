//! `front`: serves the endpoint of a service before a daemon that speaks only its own wire.

use super::daemon_log::{self, DaemonLog};
use crate::cli::FrontArgs;
use crate::failure::{Failure, advice};
use crate::output::Output;
use crate::service_file;
use crate::text::safe;
use crate::verdict::Verdict;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::service::{Front, FrontError, UpstreamAddress};
use serde_json::json;
use std::path::Path;

pub(super) fn run(arguments: &FrontArgs, output: &mut Output) -> Result<Verdict, Failure> {
    daemon_log::run(output.is_json(), |log| serve(&arguments.service_file, log))
}

fn serve(file: &Path, log: &DaemonLog) -> Result<(), Failure> {
    let (service, fronted) = service_file::read_front(file)?;
    let (name, address) = (service.name().to_owned(), fronted.address.clone());
    let failed = |error: FrontError| {
        let advice = advice::service::front(&error, file);
        Failure::new(error, advice).context(format!("the front of {name} does not serve"))
    };
    let (errors, messages) = (log.clone(), log.clone());
    let front = Front::new(service, fronted.address, fronted.program, fronted.arguments)
        .observe(move |error| errors.error(error))
        .on_ready(move |daemon| ready(&messages, daemon, &address));
    // The fronted daemon ends with the thread that starts it, so that is the first one of this process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(front.run()).map_err(failed)
}

fn ready(log: &DaemonLog, front: &DaemonProcess, address: &UpstreamAddress) {
    let (pid, socket) = (front.pid, &front.ipc_endpoint.path);
    let Some(fronted) = &front.fronts else { return };
    let object = json!({
        "event": "ready",
        "pid": pid,
        "socket": socket,
        "fronts": { "pid": fronted.pid, "exe_path": fronted.exe_path, "address": address.to_string() },
    });
    let (socket, address, program) =
        (safe(socket), safe(address.to_string()), safe(fronted.exe_path.display()));
    let fronted = fronted.pid;
    log.ready(
        format!("ready: pid {pid} serves {socket}, before process {fronted} ({program}) at {address}\n"),
        &object,
    );
}
