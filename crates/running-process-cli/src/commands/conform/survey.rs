//! The parts of the conformance protocol that the daemon serves.

use super::case::{Description, Need};
use super::connection::{self, Next};
use super::frame::RawFrame;
use super::trial::{Target, Trial};
use crate::failure::Failure;
use crate::failure::advice::{self, Advice};
use crate::verdict::Verdict;
use running_process::broker::backend_sdk::{ConnectError, FrameClient, FrameClientError};
use running_process::broker::protocol::Endpoint;
use std::io;
use std::path::Path;

const START: &str = "start the daemon first, or name the COMMAND that starts it";

/// The needs of cases that cannot be met, each with the reason.
#[derive(Debug, Default)]
pub(super) struct Survey(Vec<(Need, String)>);

/// The reaction to a request that asks for a part of the conformance protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It refuses the request or ends the connection.
    Fails,
    /// It does anything else, which the cases judge.
    Serves,
}

impl Survey {
    /// Asks the daemon. If the conformance protocol `is_promised`, no case is skipped because it is not served.
    pub(super) fn of(target: &Target, is_promised: bool) -> Result<Self, Failure> {
        // Fails if no daemon listens.
        connection::open(&target.socket).map_err(|error| not_open(error, &target.socket))?;
        let mut survey = Self::default();
        let protocol = format!("0x{:04X}", target.protocol);
        if is_promised {
            // The cases fail.
        } else if ask(target, b"echo survey") == Answer::Fails {
            let reason = format!("the daemon does not serve the conformance protocol {protocol}");
            survey.0.extend([Need::Echo, Need::Events, Need::Wait].map(|need| (need, reason.clone())));
        } else {
            for (need, payload) in [(Need::Events, &b"events 1"[..]), (Need::Wait, b"ended conform-survey")] {
                if ask(target, payload) == Answer::Fails {
                    survey.0.push((need, format!("the daemon fails `{}`", payload.escape_ascii())));
                }
            }
        }
        if target.identity_file.as_ref().is_none_or(|file| !file.exists()) {
            survey.0.push((Need::IdentityFile, "there is no identity file: see --identity".to_owned()));
        }
        if !cfg!(target_os = "linux") {
            survey.0.push((
                Need::Kernel,
                "this system does not name the peer's process and its image".to_owned(),
            ));
        }
        Ok(survey)
    }

    /// Returns why the case cannot be tried.
    pub(super) fn reason_to_skip(&self, case: &Description) -> Option<&str> {
        let missing = self.0.iter().find(|(need, _)| case.needs.contains(need));
        missing.map(|(_, reason)| reason.as_str())
    }
}

/// Returns the failure of a daemon that does not accept connections at `socket`.
fn not_open(error: io::Error, socket: &Path) -> Failure {
    let context = format!("no daemon accepts connections at {}", socket.display());
    // The library tells the reasons apart.
    let endpoint = socket.to_str().map(|path| Endpoint::unix_socket("", path));
    let failure = match endpoint {
        Some(Ok(endpoint)) => match FrameClient::connect(&endpoint) {
            Err(FrameClientError::Connect(error)) => Some(not_connected(error)),
            _ => None,
        },
        Some(Err(error)) => Some(Failure::undecided(error).kind("invalid_endpoint")),
        None => None,
    };
    let failure = failure.unwrap_or_else(|| Failure::undecided(error).kind("no_listener").hint(START));
    failure.context(context)
}

fn not_connected(error: ConnectError) -> Failure {
    let hint = match &error {
        ConnectError::NotFound { .. } | ConnectError::Refused { .. } => START,
        ConnectError::NotASocket { .. } => "give --socket the path of the daemon's socket",
        ConnectError::Name(_) => "give the daemon a shorter path, for example under /tmp",
        _ => "",
    };
    let advice = advice::connect(&error);
    let advice = if hint.is_empty() { advice } else { Advice { hint: Some(hint.into()), ..advice } };
    Failure::new(error, Advice { verdict: Verdict::Undecided, ..advice })
}

fn ask(target: &Target, payload: &[u8]) -> Answer {
    let trial = Trial::new(target);
    let Ok(mut connection) = trial.connect() else { return Answer::Serves };
    let request = RawFrame::request(target.protocol, 1, payload);
    match connection.send(&request.bytes()).and_then(|()| connection.next("an answer")) {
        Ok(Next::End) => Answer::Fails,
        Ok(Next::Frame(frame)) if frame.refusal().is_some() => Answer::Fails,
        Ok(Next::Frame(_)) | Err(_) => Answer::Serves,
    }
}
