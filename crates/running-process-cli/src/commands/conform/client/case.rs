//! A case of a client: what the played daemon sends, and what the client is to make of it.

use super::identity::Identity;
use super::record::Record;
use crate::commands::conform::case::{Description, Need, Severity};
use crate::commands::conform::fault::Fault;
use crate::commands::conform::frame::{PROBE, RESPONSE, RawFrame};

/// The payload of the request that each client sends.
pub(super) const REQUEST_PAYLOAD: &[u8] = b"echo hello";
/// The payload of the answer.
pub(super) const ANSWER: &[u8] = b"hello";

/// One thing that the played daemon does on a connection.
#[derive(Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// Writes each byte by itself, slowly enough for the client to read it alone.
    SendBytewise(Vec<u8>),
    Close,
}

/// The reaction that a case expects of the client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expectation {
    /// Print this payload and exit with 0.
    Prints(fn() -> Vec<u8>),
    /// Send its request, and exit with another status than 0.
    Fails,
    /// Exit with another status than 0 before it has sent its request.
    FailsUnproven,
}

/// A rule of the wire, and the way to try a client.
#[derive(Debug)]
pub(super) struct ClientCase {
    pub(super) about: Description,
    /// Changes the identity in the identity file.
    pub(super) recorded: fn(&mut Identity),
    /// Changes the identity with which probes are answered; it begins as the recorded one.
    pub(super) claimed: fn(&mut Identity),
    /// Answers a probe, given the encoded identity.
    pub(super) probe: fn(&RawFrame, &[u8]) -> Vec<Step>,
    /// Answers a request.
    pub(super) answer: fn(&RawFrame) -> Vec<Step>,
    pub(super) expected: Expectation,
    /// The number of runs of the client.
    pub(super) runs: usize,
    /// Checks what the client has sent.
    pub(super) check: fn(&Record) -> Result<(), Fault>,
}

impl ClientCase {
    /// Creates a case whose daemon does nothing wrong.
    const fn new(
        name: &'static str,
        section: &'static str,
        rule: &'static str,
        expected: Expectation,
    ) -> Self {
        Self {
            about: Description { name, rule, section, severity: Severity::Must, needs: &[] },
            recorded: |_| {},
            claimed: |_| {},
            probe: proves,
            answer: answers,
            expected,
            runs: 1,
            check: |_| Ok(()),
        }
    }

    /// Creates a case whose answer the client is to print.
    pub(super) const fn prints(
        name: &'static str,
        section: &'static str,
        rule: &'static str,
        answer: fn(&RawFrame) -> Vec<Step>,
    ) -> Self {
        Self { answer, ..Self::new(name, section, rule, Expectation::Prints(|| ANSWER.to_vec())) }
    }

    /// Creates a case whose answer the client is to refuse.
    pub(super) const fn fails(
        name: &'static str,
        section: &'static str,
        rule: &'static str,
        answer: fn(&RawFrame) -> Vec<Step>,
    ) -> Self {
        Self { answer, ..Self::new(name, section, rule, Expectation::Fails) }
    }

    /// Creates a case whose proof the client is to refuse.
    pub(super) const fn disproved(
        name: &'static str,
        section: &'static str,
        rule: &'static str,
        probe: fn(&RawFrame, &[u8]) -> Vec<Step>,
    ) -> Self {
        Self { probe, ..Self::new(name, section, rule, Expectation::FailsUnproven) }.needs(&[Need::Probe])
    }

    /// Creates a case that looks at what the client sends.
    pub(super) const fn sends(
        name: &'static str,
        section: &'static str,
        rule: &'static str,
        check: fn(&Record) -> Result<(), Fault>,
    ) -> Self {
        Self { check, ..Self::prints(name, section, rule, answers) }
    }

    /// Replaces the payload that the client is to print.
    pub(super) const fn printing(self, payload: fn() -> Vec<u8>) -> Self {
        Self { expected: Expectation::Prints(payload), ..self }
    }

    /// Runs the client twice against the same daemon.
    pub(super) const fn twice(self) -> Self {
        Self { runs: 2, ..self }
    }

    pub(super) const fn recorded(self, recorded: fn(&mut Identity)) -> Self {
        Self { recorded, ..self }
    }

    pub(super) const fn claimed(self, claimed: fn(&mut Identity)) -> Self {
        Self { claimed, ..self }
    }

    pub(super) const fn probe(self, probe: fn(&RawFrame, &[u8]) -> Vec<Step>) -> Self {
        Self { probe, ..self }
    }

    pub(super) const fn needs(self, needs: &'static [Need]) -> Self {
        Self { about: Description { needs, ..self.about }, ..self }
    }

    pub(super) const fn should(self) -> Self {
        Self { about: Description { severity: Severity::Should, ..self.about }, ..self }
    }

    pub(super) const fn note(self) -> Self {
        Self { about: Description { severity: Severity::Note, ..self.about }, ..self }
    }
}

/// Returns the answer to a request.
pub(super) fn answer_to(request: &RawFrame) -> RawFrame {
    RawFrame::response(request.protocol, request.id, ANSWER)
}

/// Answers a request in one write.
pub(super) fn answers(request: &RawFrame) -> Vec<Step> {
    vec![Step::Send(answer_to(request).bytes())]
}

/// Returns the response to a probe.
pub(super) fn proof_of(probe: &RawFrame, identity: &[u8]) -> RawFrame {
    RawFrame {
        kind: RESPONSE,
        traceparent: probe.traceparent.clone(),
        tracestate: probe.tracestate.clone(),
        ..RawFrame::request(PROBE, probe.id, [&probe.payload[..], identity].concat())
    }
}

/// Answers a probe in one write.
pub(super) fn proves(probe: &RawFrame, identity: &[u8]) -> Vec<Step> {
    vec![Step::Send(proof_of(probe, identity).bytes())]
}
