//! Results of calls in JSON.

use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::service::{
    EnsureError, FindError, ReplaceError, Replaced, ServiceState, StartFailure, StopError, Stopped,
};
use running_process_acceptance::TEST_TIMEOUT;
use running_process_acceptance::wire::SHOUT;
use serde_json::{Value, json};
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

/// Asks the daemon `request`, if there is a daemon.
pub(crate) fn ensured(ensured: Result<BackendHandle, EnsureError>, request: &[u8]) -> Value {
    let error = match ensured {
        Ok(handle) => return answered(handle, request),
        Err(error) => error,
    };
    let mut value = json!({ "error": variant(&error), "text": chain(&error) });
    match error {
        EnsureError::StartFailed(failure) => value["failure"] = start_failure(&failure),
        EnsureError::BackingOff { until, failure } => {
            value["until_ms"] = unix_ms(until);
            value["failure"] = json!(failure.as_ref().map(start_failure));
        }
        EnsureError::HeldByOrphan { pid } => value["pid"] = json!(pid),
        EnsureError::TimedOut { state, detail } => {
            value["state"] = json!(state);
            value["detail"] = json!(detail);
        }
        EnsureError::Impostor(error) | EnsureError::NotInspectable(error) => {
            value["reason"] = json!(variant(&error));
        }
        EnsureError::Find(error) => value["reason"] = json!(find_reason(&error)),
        _ => {}
    }
    value
}

fn answered(handle: BackendHandle, request: &[u8]) -> Value {
    let pid = handle.daemon_process.pid;
    let mut client = handle.into_client();
    client.set_timeout(Some(TEST_TIMEOUT));
    match client.request(SHOUT, request.to_vec()) {
        Ok(response) => json!({ "pid": pid, "answer": String::from_utf8_lossy(&response.payload) }),
        Err(error) => json!({ "pid": pid, "error": "Request", "text": chain(&error) }),
    }
}

pub(crate) fn found(found: Result<ServiceState, FindError>) -> Value {
    let state = match found {
        Ok(state) => state,
        Err(error) => {
            return json!({ "error": "Find", "reason": find_reason(&error), "text": chain(&error) });
        }
    };
    let mut value = json!({ "state": state.name() });
    match state {
        ServiceState::Starting { by, since } => {
            value["pid"] = json!(by);
            value["since_ms"] = json!(since.map(unix_ms));
        }
        ServiceState::BackingOff { until, failure } => {
            value["until_ms"] = unix_ms(until);
            value["failure"] = json!(failure.as_ref().map(start_failure));
        }
        ServiceState::Live(handle) => value["pid"] = json!(handle.daemon_process.pid),
        ServiceState::Busy { pid } | ServiceState::Stale { pid } => value["pid"] = json!(pid),
        ServiceState::Draining { pid } | ServiceState::HeldByOrphan { pid } => value["pid"] = json!(pid),
        ServiceState::Impostor(error) | ServiceState::NotInspectable(error) => {
            value["reason"] = json!(variant(&error));
        }
        _ => {}
    }
    value
}

pub(crate) fn stopped(stopped: Result<Stopped, StopError>) -> Value {
    match stopped {
        Ok(Stopped::Ended { pid }) => json!({ "stopped": "Ended", "pid": pid }),
        Ok(Stopped::Killed { pid }) => json!({ "stopped": "Killed", "pid": pid }),
        Ok(other) => json!({ "stopped": variant(&other) }),
        Err(error) => {
            let mut value = json!({ "error": variant(&error), "text": chain(&error) });
            match error {
                StopError::HeldByOrphan { pid } => value["pid"] = json!(pid),
                StopError::TimedOut { state, .. } => value["state"] = json!(state),
                StopError::NotProven(error) => value["reason"] = json!(variant(&error)),
                StopError::Find(error) => value["reason"] = json!(find_reason(&error)),
                _ => {}
            }
            value
        }
    }
}

/// Asks the daemon that has replaced another one `request`, and tells the steps as well.
pub(crate) fn restarted(outcome: Result<Replaced, ReplaceError>, steps: &[String], request: &[u8]) -> Value {
    let mut value = match outcome {
        Ok(Replaced { daemon, former_pid, is_new, by, .. }) => {
            let mut value = answered(daemon, request);
            value["former_pid"] = json!(former_pid);
            value["is_new"] = json!(is_new);
            value["by"] = json!(by.map(|by| variant(&by)));
            value
        }
        Err(error) => json!({ "error": variant(&error), "text": chain(&error) }),
    };
    value["steps"] = json!(steps);
    value
}

fn start_failure(failure: &StartFailure) -> Value {
    json!({ "end": format!("{:?}", failure.end), "log": failure.log })
}

/// Returns the path of names to the fault, such as `Place NotPrivate`.
fn find_reason(error: &FindError) -> String {
    match error {
        FindError::Place(error) => format!("Place {}", variant(&error.fault)),
        FindError::Lock(error) => format!("Lock {}", variant(error)),
        FindError::Probe(error) => format!("Probe {}", variant(error)),
        other => variant(other),
    }
}

/// Returns the name of the variant.
pub(crate) fn variant(error: &impl std::fmt::Debug) -> String {
    let debug = format!("{error:?}");
    debug.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// Returns the message of the error and of its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn unix_ms(time: SystemTime) -> Value {
    json!(time.duration_since(UNIX_EPOCH).unwrap().as_millis())
}
