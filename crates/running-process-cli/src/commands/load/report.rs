//! The results of a load, as text and as JSON.

use super::measurement::Measurement;
use super::phase::{Extent, Outcome, Plan};
use super::tally::FailureKind;
use crate::chart::{Bucket, MOST_BUCKETS, buckets, histogram};
use crate::cli::LoadArgs;
use crate::failure::Failure;
use crate::failure::advice::{self, Advice};
use crate::output::Output;
use crate::text::{cut, safe};
use crate::verdict::Verdict;
use crate::wire::{counted, grouped};
use anstyle::{AnsiColor, Style};
use hdrhistogram::Histogram;
use humantime::format_duration;
use running_process::broker::backend_sdk::FrameClientError;
use serde_json::{Value, json};
use std::time::Duration;

const PERCENTILES: [(&str, &str, f64); 4] =
    [("p50", "p50", 0.5), ("p90", "p90", 0.9), ("p99", "p99", 0.99), ("p99.9", "p99_9", 0.999)];

/// Columns from which the latencies are below their names.
const LATENCY_COLUMNS: usize = 78;

/// The margin of lines about the requests.
const MARGIN: &str = "            ";

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

pub(super) struct Report<'a> {
    pub(super) arguments: &'a LoadArgs,
    pub(super) plan: &'a Plan,
}

impl Report<'_> {
    /// Prints what the load sends.
    pub(super) fn begin(&self, output: &mut Output) -> Result<(), Failure> {
        let Self { arguments, plan } = self;
        let LoadArgs { connections, in_flight, warm_up, .. } = arguments;
        let daemon = &plan.target.daemon;
        let pace = match arguments.rate {
            Some(rate) => format!("{} requests/s", grouped(rate)),
            None => "as fast as they are answered".to_owned(),
        };
        let extent = Extent::of(arguments);
        let requests = extent.requests.map(|requests| counted(requests, "request"));
        let duration = extent.duration.map(|duration| format_duration(duration).to_string());
        let length: Vec<_> = requests.into_iter().chain(duration).collect();
        let warm_up = if warm_up.is_zero() {
            String::new()
        } else {
            format!(" after {} of warm-up", format_duration(*warm_up))
        };
        output.line(format_args!(
            "process {} in protocol 0x{:04X}: {} x {in_flight} in flight, {} each",
            daemon.pid,
            plan.target.protocol,
            counted(*connections, "connection"),
            counted(plan.payload.len(), "byte"),
        ))?;
        output.line(format_args!("{pace}, {}{warm_up}\n", length.join(" or ")))
    }

    /// Prints the results and returns the verdict.
    pub(super) fn end(&self, measured: &Measurement, output: &mut Output) -> Result<Verdict, Failure> {
        let Measurement { outcome, only_warm_up, .. } = measured;
        if output.is_json() {
            output.object(self.to_json(measured))?;
        } else {
            self.counts(measured, output)?;
            if !only_warm_up && outcome.answers.count() > 0 {
                self.throughput(outcome, output)?;
                latencies(&outcome.answers.latencies, output)?;
            }
            self.errors(outcome, output)?;
        }
        // The payload of a size alone is no request of any protocol: an error is the answer to expect.
        let is_refused = outcome.answers.errors > 0 && self.arguments.payload.is_some();
        let good =
            !only_warm_up && !is_refused && outcome.answers.count() > 0 && outcome.failures.count() == 0;
        Ok(if good { Verdict::Yes } else { Verdict::No })
    }

    fn counts(&self, measured: &Measurement, output: &mut Output) -> Result<(), Failure> {
        let Measurement { outcome, only_warm_up, lost_connections } = measured;
        let failed = outcome.failures.count();
        let style = if failed > 0 { RED } else { Style::new() };
        output.line(format_args!(
            "{BOLD}requests{BOLD:#}    {} sent in {:.2?}: {} answered, {style}{} failed{style:#}",
            grouped(outcome.sent),
            outcome.elapsed,
            grouped(outcome.answers.count()),
            grouped(failed),
        ))?;
        let answers = &outcome.answers;
        if let Some(first) = &answers.first_error {
            let first = safe(String::from_utf8_lossy(first).trim_end()).to_string();
            let text = format!("{} answered with an error, such as {first}", grouped(answers.errors));
            let text = cut(&text, output.columns().saturating_sub(MARGIN.len()));
            output.line(format_args!("{MARGIN}{RED}{text}{RED:#}"))?;
        }
        let mut note = |text: String| output.line(format_args!("{MARGIN}{YELLOW}{text}{YELLOW:#}"));
        if *only_warm_up {
            note("a request failed in the warm-up: nothing was measured".to_owned())?;
        }
        if outcome.interrupted {
            note(format!("interrupted: {} in flight were abandoned", grouped(unfinished(outcome))))?;
        }
        if unsent(outcome) > 0 {
            let reason =
                if *lost_connections == 0 { ": the rate exceeds what the daemon answered" } else { "" };
            note(format!("{} due and not sent{reason}", grouped(unsent(outcome))))?;
        }
        if *lost_connections > 0 {
            note(format!(
                "{lost_connections} of {} lost",
                counted(self.arguments.connections, "connection")
            ))?;
        }
        Ok(())
    }

    fn throughput(&self, outcome: &Outcome, output: &mut Output) -> Result<(), Failure> {
        let Rates { requests, sent_bytes, received_bytes } = self.rates(outcome);
        let (sent, received) = (sent_bytes / 1e6, received_bytes / 1e6);
        output.line(format_args!(
            "{BOLD}throughput{BOLD:#}  {} requests/s, payloads {sent:.2} MB/s out, {received:.2} MB/s back",
            grouped(format_args!("{requests:.0}")),
        ))
    }

    fn rates(&self, outcome: &Outcome) -> Rates {
        let seconds = outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "a rate is not exact")]
        let rate = |count: u64| count as f64 / seconds;
        let answered = outcome.answers.count();
        Rates {
            requests: rate(answered),
            sent_bytes: rate(answered.saturating_mul(self.plan.payload.len() as u64)),
            received_bytes: rate(outcome.answers.received_bytes),
        }
    }

    fn errors(&self, outcome: &Outcome, output: &mut Output) -> Result<(), Failure> {
        for (name, kind) in &outcome.failures.0 {
            output.line(format_args!(
                "\n{RED}{name}{RED:#} x {}: {}\n  {CYAN}hint{CYAN:#}: {}",
                grouped(kind.count),
                self.failure(&kind.first, outcome).sentence(),
                self.advice(&kind.first, outcome).hint.unwrap_or_default(),
            ))?;
        }
        Ok(())
    }

    fn failure(&self, error: &FrameClientError, outcome: &Outcome) -> Failure {
        Failure::of_request(error.clone(), self.advice(error, outcome))
    }

    fn advice(&self, error: &FrameClientError, outcome: &Outcome) -> Advice {
        let advice = advice::request(error, self.plan.target.request_context("--timeout"));
        match error {
            FrameClientError::Closed | FrameClientError::Stream(_) if outcome.answers.count() > 0 => advice
                .hint("the daemon answered other requests: it has ended since, or its limit of connections is lower"),
            _ => advice,
        }
    }

    fn to_json(&self, measured: &Measurement) -> Value {
        let Self { arguments, plan } = self;
        let Measurement { outcome, only_warm_up, lost_connections } = measured;
        let Rates { requests, sent_bytes, received_bytes } = self.rates(outcome);
        let latencies = &outcome.answers.latencies;
        let mut latency = json!({ "min": latencies.min(), "max": latencies.max() });
        for (_, key, quantile) in PERCENTILES {
            latency[key] = latencies.value_at_quantile(quantile).into();
        }
        let has_latencies = !only_warm_up && !latencies.is_empty();
        let errors: Vec<_> = (outcome.failures.0.values())
            .map(|kind| {
                let FailureKind { count, first } = kind;
                let Advice { kind, hint, .. } = self.advice(first, outcome);
                json!({ "kind": kind, "count": count, "first": self.failure(first, outcome).sentence(), "hint": hint })
            })
            .collect();
        json!({
            "pid": plan.target.daemon.pid,
            "payload_protocol": plan.target.protocol,
            "payload_bytes": plan.payload.len(),
            "connections": arguments.connections,
            "in_flight": arguments.in_flight,
            "rate": arguments.rate,
            "phase": if *only_warm_up { "warm_up" } else { "measured" },
            "interrupted": outcome.interrupted,
            "elapsed_us": u64::try_from(outcome.elapsed.as_micros()).unwrap_or(u64::MAX),
            "requests": {
                "sent": outcome.sent,
                "answered": outcome.answers.count(),
                "answered_with_error": outcome.answers.errors,
                "failed": outcome.failures.count(),
                "unfinished": unfinished(outcome),
                "unsent": unsent(outcome),
            },
            "lost_connections": lost_connections,
            "requests_per_second": requests,
            "sent_bytes_per_second": sent_bytes,
            "received_bytes_per_second": received_bytes,
            "latency_ns": has_latencies.then_some(latency),
            "histogram": if has_latencies { distribution(latencies) } else { Vec::new() },
            "first_error": outcome.answers.first_error.as_deref().map(String::from_utf8_lossy),
            "errors": errors,
        })
    }
}

/// Rates per second.
struct Rates {
    requests: f64,
    sent_bytes: f64,
    received_bytes: f64,
}

/// Returns the number of requests that were neither answered nor failed.
fn unfinished(outcome: &Outcome) -> u64 {
    outcome.sent - outcome.answers.count() - outcome.failures.count()
}

/// Returns the number of requests that were due and not sent.
fn unsent(outcome: &Outcome) -> u64 {
    outcome.due - outcome.sent
}

fn latencies(latencies: &Histogram<u64>, output: &mut Output) -> Result<(), Failure> {
    let quantile = |quantile| latencies.value_at_quantile(quantile);
    let figures = [("min", latencies.min())]
        .into_iter()
        .chain(PERCENTILES.map(|(name, _, at)| (name, quantile(at))))
        .chain([("max", latencies.max())]);
    let figures = figures.map(|(name, nanos)| (name, format!("{:.1?}", Duration::from_nanos(nanos))));
    let columns = output.columns();
    let name = format!("{BOLD}latency{BOLD:#}     ");
    if columns < LATENCY_COLUMNS {
        let lines: Vec<String> = figures.map(|(name, value)| format!("{name:<7}{value}")).collect();
        output.line(format_args!("{name}{}\n", lines.join("\n            ")))?;
    } else {
        let (names, values): (String, String) =
            figures.map(|(name, value)| (format!("{name:<11}"), format!("{value:<11}"))).unzip();
        output.line(format_args!("{name}{}\n            {}\n", names.trim_end(), values.trim_end()))?;
    }
    output.line(histogram(&distribution(latencies), columns, output.glyphs()).join("\n"))
}

/// Returns the latencies in buckets.
fn distribution(latencies: &Histogram<u64>) -> Vec<Bucket> {
    let steps = latencies.iter_recorded();
    let counts: Vec<_> = steps.map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
    buckets(&counts, MOST_BUCKETS)
}
