//! The table of all situations, what failed in them, and the verdict.

use super::leftover::Cleared;
use super::outcome::{Outcome, percentile};
use super::situation::Situation;
use crate::chart::{buckets, histogram};
use crate::cli::StampedeArgs;
use crate::commands::status::key;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::{Align, Cell, Column, Table};
use crate::text::safe;
use crate::verdict::Verdict;
use anstyle::{AnsiColor, Style};
use running_process::broker::service::Service;
use serde_json::{Value, json};
use std::time::Duration;

const COLUMNS: [Column; 9] = [
    Column { title: "SITUATION", align: Align::Left, rank: 0 },
    Column { title: "SERVED", align: Align::Right, rank: 0 },
    Column { title: "FAILED", align: Align::Right, rank: 0 },
    Column { title: "DAEMONS", align: Align::Right, rank: 1 },
    Column { title: "STARTS", align: Align::Right, rank: 5 },
    Column { title: "FIRST", align: Align::Right, rank: 4 },
    Column { title: "LAST", align: Align::Right, rank: 2 },
    Column { title: "P50", align: Align::Right, rank: 3 },
    Column { title: "P99", align: Align::Right, rank: 2 },
];
/// Most bars of a histogram.
const MOST_BARS: usize = 8;
/// Most different failures of one situation that are told to people.
const MOST_FAILURES: usize = 3;

/// The hint about a daemon that was started and not found.
const UNSEEN: &str = "hint: a daemon that runs and is not found there does not call Server::for_service, or takes another place \
                      than its starter names (RUNNING_PROCESS_SERVICE, RUNNING_PROCESS_SERVICE_ROOT)";

pub(super) struct Report {
    service: Service,
    clients: u32,
    outcomes: Vec<Outcome>,
    /// The situation that could not be brought about, and the reason.
    failed: Option<(Situation, Failure)>,
    /// Processes that outlived the stop of the service.
    left: Vec<u32>,
    log: Option<String>,
    /// Roots of commands that were killed before this one.
    cleared: Vec<Cleared>,
}

impl Report {
    pub(super) fn new(arguments: &StampedeArgs, service: Service, cleared: Vec<Cleared>) -> Self {
        let clients = arguments.clients;
        Self { service, clients, outcomes: Vec::new(), failed: None, left: Vec::new(), log: None, cleared }
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Records the situation that could not be brought about.
    pub(super) fn ends_before(&mut self, situation: Situation, reason: Failure) {
        self.failed = Some((situation, reason));
    }

    /// Returns whether no further situation can be tried: one has failed, or no daemon serves.
    pub(super) fn is_over(&self) -> bool {
        self.failed.is_some() || self.outcomes.last().is_some_and(|outcome| outcome.served() == 0)
    }

    /// Records what was left of the service after its stop, and the end of its log.
    pub(super) fn ends(&mut self, left: Vec<u32>, log: Option<String>) {
        (self.left, self.log) = (left, log);
    }

    fn verdict(&self) -> Verdict {
        let is_bad = self.outcomes.iter().any(|outcome| !outcome.is_good());
        match &self.failed {
            _ if is_bad => Verdict::No,
            Some((_, failure)) => failure.verdict(),
            None => Verdict::Yes,
        }
    }

    pub(super) fn print(&self, output: &mut Output) -> Result<Verdict, Failure> {
        let mut table = Table::new(COLUMNS);
        for outcome in &self.outcomes {
            table.row(row(outcome));
        }
        let width = output.size().map(|(columns, _)| columns);
        output.line(table.lines(width).join("\n"))?;
        for outcome in self.outcomes.iter().filter(|outcome| outcome.served() > 0) {
            output.line(format_args!(
                "{}, from the release of a client to its answer:",
                outcome.situation.name()
            ))?;
            let latencies: Vec<_> =
                outcome.latencies_us().into_iter().map(|micros| (micros * 1000, 1)).collect();
            let buckets = buckets(&latencies, MOST_BARS);
            output.line(histogram(&buckets, output.columns(), output.glyphs()).join("\n"))?;
        }
        for outcome in &self.outcomes {
            for note in notes(outcome) {
                output.line(format_args!("{}: {}", outcome.situation.name(), safe(note)))?;
            }
        }
        if let Some((situation, failure)) = &self.failed {
            output.line(format_args!("{}: not brought about: {}", situation.name(), failure.sentence()))?;
        }
        let not_tried: Vec<&str> = self.not_tried().map(Situation::name).collect();
        if !not_tried.is_empty() {
            output.line(format_args!("not tried: {}", not_tried.join(", ")))?;
        }
        if !self.left.is_empty() {
            output.line(format_args!(
                "left: {} outlived the stop of the service, and {} killed",
                processes(&self.left),
                if self.left.len() == 1 { "was" } else { "were" }
            ))?;
        }
        for Cleared { root, processes: ended } in &self.cleared {
            let ended = if ended.is_empty() { String::new() } else { format!(" and {}", processes(ended)) };
            let root = safe(root.display());
            output.line(format_args!("cleared: {root}{ended}, of a stampede that was killed"))?;
        }
        let verdict = self.verdict();
        if verdict != Verdict::Yes
            && let Some(log) = &self.log
        {
            output.line("the end of the daemon's log:")?;
            for line in log.lines() {
                output.line(format_args!("    | {}", safe(line)))?;
            }
        }
        if verdict == Verdict::Yes {
            output.line("every client was served, and never by two daemons at once")?;
        }
        output.object(self.object(verdict))?;
        Ok(verdict)
    }

    /// Returns the situations that are missing.
    fn not_tried(&self) -> impl Iterator<Item = Situation> {
        let tried = self.outcomes.len() + usize::from(self.failed.is_some());
        Situation::ALL.into_iter().skip(tried)
    }

    fn object(&self, verdict: Verdict) -> Value {
        json!({
            "service": self.service.name(),
            "key": key(&self.service),
            "verdict": verdict.name(),
            "clients": self.clients,
            "situations": self.outcomes.iter().map(object).collect::<Vec<_>>(),
            "not_tried": self.not_tried().map(Situation::name).collect::<Vec<_>>(),
            "error": self.failed.as_ref().map(|(_, failure)| failure.report()),
            "left_pids": self.left,
            "log": self.log,
            "cleared": self.cleared.iter().map(|Cleared { root, processes }| json!({
                "directory": root.display().to_string(), "pids": processes,
            })).collect::<Vec<_>>(),
        })
    }
}

fn row(outcome: &Outcome) -> [Cell; 9] {
    let red = AnsiColor::Red.on_default();
    let alarming = |is_bad: bool| if is_bad { red } else { Style::new() };
    let time = |time: Option<Duration>| Cell::new(time.map_or_else(|| "-".to_owned(), short));
    let latencies = outcome.latencies_us();
    let percent = |percent| time(percentile(&latencies, percent).map(Duration::from_micros));
    let (first, last) = outcome.first_and_last().unzip();
    [
        Cell::new(outcome.situation.name()),
        Cell::new(outcome.served()),
        Cell::styled(outcome.failed(), alarming(outcome.failed() > 0)),
        Cell::styled(daemons(outcome), alarming(outcome.had_two_daemons())),
        Cell::new(outcome.starts),
        time(first),
        time(last),
        percent(50),
        percent(99),
    ]
}

/// Formats the number of daemons that served; `1+1` if the daemon from before the situation is one of them.
fn daemons(outcome: &Outcome) -> String {
    let daemons = outcome.daemons();
    if outcome.former.is_some_and(|former| daemons.contains_key(&former)) {
        format!("1+{}", daemons.len() - 1)
    } else {
        daemons.len().to_string()
    }
}

/// Formats a time with three digits.
fn short(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    match millis {
        ..10.0 => format!("{millis:.2}ms"),
        ..100.0 => format!("{millis:.1}ms"),
        ..10_000.0 => format!("{millis:.0}ms"),
        _ => format!("{:.1}s", millis / 1000.0),
    }
}

/// Returns what people want to know of the situation besides its row.
fn notes(outcome: &Outcome) -> Vec<String> {
    let mut notes = Vec::new();
    if outcome.had_two_daemons() {
        let alive = outcome.alive.as_deref().unwrap_or_default();
        let served: Vec<u32> = outcome.daemons().keys().map(|process| process.pid).collect();
        let pids = if alive.len() > 1 { alive } else { &served };
        notes.push(format!("two daemons at once: {}", processes(pids)));
    }
    let failures = outcome.failures();
    for (refused, count) in failures.iter().take(MOST_FAILURES) {
        notes.push(format!("{}: {}", clients(*count), refused.error));
    }
    if failures.len() > MOST_FAILURES {
        notes.push(format!("{} other failures, which --json has", failures.len() - MOST_FAILURES));
    }
    if failures.iter().any(|(refused, _)| refused.is_unseen) {
        notes.push(UNSEEN.to_owned());
    }
    if outcome.without_answer() > 0 {
        notes.push(format!("{} had no answer in time, and ended", clients(outcome.without_answer())));
    }
    notes
}

fn clients(count: usize) -> String {
    if count == 1 { "1 client".to_owned() } else { format!("{count} clients") }
}

fn processes(pids: &[u32]) -> String {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let noun = if pids.len() == 1 { "process" } else { "processes" };
    format!("{noun} {}", pids.join(", "))
}

fn object(outcome: &Outcome) -> Value {
    let latencies = outcome.latencies_us();
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (first, last) = outcome.first_and_last().unzip();
    json!({
        "situation": outcome.situation.name(),
        "served": outcome.served(),
        "failed": outcome.failed(),
        "without_answer": outcome.without_answer(),
        "two_daemons": outcome.had_two_daemons(),
        "daemons": outcome.daemons().iter().map(|(process, clients)| json!({
            "pid": process.pid, "start_time": process.start_time, "clients": clients,
        })).collect::<Vec<_>>(),
        "former_pid": outcome.former.map(|process| process.pid),
        "running_pids": outcome.alive,
        "starts": outcome.starts,
        "first_us": first.map(micros),
        "last_us": last.map(micros),
        "p50_us": percentile(&latencies, 50),
        "p99_us": percentile(&latencies, 99),
        "latencies_us": latencies,
        "failures": outcome.failures().iter().map(|(refused, clients)| json!({
            "kind": refused.kind, "error": refused.error, "clients": clients,
        })).collect::<Vec<_>>(),
    })
}
