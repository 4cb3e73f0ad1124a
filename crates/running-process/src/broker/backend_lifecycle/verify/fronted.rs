//! The check of the daemon behind a front.

use super::checks::{recorded_process, still_alive, unanswered};
use super::image::{Image, Inspected, judge_read, running_image};
use super::policy::Policy;
use super::proof::{Step, StepKind, StepVerdict};
use crate::broker::backend_lifecycle::digest::digests_of;
use crate::broker::backend_lifecycle::identity::{DaemonProcess, ExeDigests, started};
use crate::broker::backend_lifecycle::probe::ProbeError;
use std::time::Instant;

/// Verifies the daemon that `front` relays to, by a handle of its process: it is alive in this boot with the recorded start
/// time, and runs the recorded image. Returns the step with its evidence, or the reason of the refusal; `None` if `front` is no
/// front.
///
/// That says which process the front has started and relays to. `front` itself is verified by [`verify`](super::verify).
#[must_use]
pub fn verify_fronted(front: &DaemonProcess, deadline: Instant) -> Option<Step> {
    let fronted = as_daemon(front)?;
    let (verdict, evidence) = match inspect(&fronted, deadline) {
        Ok(Inspected { verdict, evidence, .. }) => (verdict, evidence),
        Err(error) => (StepVerdict::Refused, error.to_string()),
    };
    Some(Step { kind: StepKind::Fronted, verdict, evidence })
}

/// Returns the fronted daemon in the form that the checks take.
fn as_daemon(front: &DaemonProcess) -> Option<DaemonProcess> {
    let fronted = front.fronts.as_ref()?;
    let mut daemon = front.clone();
    daemon.pid = fronted.pid;
    daemon.exe_path.clone_from(&fronted.exe_path);
    daemon.exe_digests = ExeDigests::Blake3(fronted.exe_blake3);
    daemon.origin.as_mut()?.start_time = fronted.start_time;
    Some(daemon)
}

fn inspect(fronted: &DaemonProcess, deadline: Instant) -> Result<Inspected, ProbeError> {
    let process = recorded_process(fronted)?;
    let inspected = match running_image(fronted, &process, &Policy::default())? {
        Image::Judged(inspected) => inspected,
        Image::Undigested(undigested) => {
            let read = digests_of(undigested.file(), undigested.wanted(), deadline);
            judge_read(fronted, &process, undigested, read)?
        }
    };
    still_alive(&process)?;
    let began = process.start_time().map_err(|error| unanswered(fronted.pid, error))?;
    let evidence = format!(
        "process {} started {}, runs {}: {}",
        fronted.pid,
        started(began),
        fronted.exe_path.display(),
        inspected.evidence
    );
    Ok(Inspected { evidence, ..inspected })
}
