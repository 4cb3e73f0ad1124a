//! The sockets of the machine that are not those of known services.

use crate::commands::probe::claim::leads_to;
use crate::commands::probe::socket::{process_json, unconfirmed};
use crate::commands::probe::steps::level_name;
use crate::failure::{Failure, advice};
use crate::output::Output;
use crate::release::process;
use crate::services::on_threads;
use crate::table::{Align, Cell, Column, Table};
use crate::text::safe;
use crate::verdict::Verdict;
use anstyle::{AnsiColor, Style};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{Claim, Policy, ProofLevel, verify_claim};
use running_process::broker::local_sockets::{ListeningSocket, SocketName, listening_sockets};
use running_process::broker::protocol::Endpoint;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time that one process has for its answer and its proof.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 4] = [
    Column { title: "SOCKET", align: Align::Left, rank: 0 },
    Column { title: "PID", align: Align::Right, rank: 1 },
    Column { title: "PROGRAM", align: Align::Left, rank: 2 },
    Column { title: "USER", align: Align::Right, rank: 3 },
];
const ASKED_COLUMNS: [Column; 6] = [
    COLUMNS[0],
    COLUMNS[1],
    COLUMNS[2],
    COLUMNS[3],
    Column { title: "CLAIMS", align: Align::Left, rank: 2 },
    Column { title: "PROOF", align: Align::Left, rank: 1 },
];

/// Prints the sockets that listen outside of the directories `known`, after asking this user's own if `ask` is set.
pub(super) fn print(
    known: &[PathBuf],
    ask: bool,
    deadline: Duration,
    output: &mut Output,
) -> Result<(), Failure> {
    let until = Instant::now() + deadline;
    let mut sockets = listening_sockets(until)
        .map_err(|error| Failure::from(error).context("the sockets of the machine cannot be listed"))?;
    sockets.retain(|socket| !is_known(socket, known));
    let asked = on_threads(sockets, |socket| {
        let claim = if ask { endpoint(&socket).map(|endpoint| ask_at(endpoint, until)) } else { None };
        (socket, claim)
    });
    let others: Vec<Other> = asked
        .into_iter()
        .map(|(socket, claim)| Other {
            socket,
            answer: claim.map(|(endpoint, claim)| Answer::of(&endpoint, claim)),
        })
        .collect();
    output.line("")?;
    if others.is_empty() {
        return output.line("no other sockets");
    }
    let (mut table, mut asked_table) = (Table::new(COLUMNS), Table::new(ASKED_COLUMNS));
    for other in &others {
        table.row(other.cells());
        asked_table.row(other.asked_cells());
        output.partial_object(other.object())?;
    }
    let width = output.size().map(|(columns, _)| columns);
    let lines = if ask { asked_table.lines(width) } else { table.lines(width) };
    output.line(lines.join("\n"))?;
    for Other { socket, answer } in &others {
        if let Some(Answer { identity: Some(_), proof: Err(failure), .. }) = answer {
            output.line(format_args!("{}: {}", safe(&socket.name), failure.note()))?;
        }
    }
    output.flush()
}

fn is_known(socket: &ListeningSocket, known: &[PathBuf]) -> bool {
    match &socket.name {
        SocketName::Path(path) => known.iter().any(|directory| path.starts_with(directory)),
        _ => false,
    }
}

/// Returns the endpoint of a socket that may be asked: one of this user, to which its path leads.
#[cfg(unix)]
fn endpoint(socket: &ListeningSocket) -> Option<Endpoint> {
    let SocketName::Path(path) = &socket.name else { return None };
    let is_own = socket.uid == Some(rustix::process::geteuid().as_raw());
    let is_usable = is_own && path.is_absolute() && socket.is_at_its_path() != Some(false);
    Endpoint::unix_socket("", path.to_str().filter(|_| is_usable)?).ok()
}

/// Returns `None`: no socket is listed.
#[cfg(not(unix))]
fn endpoint(_socket: &ListeningSocket) -> Option<Endpoint> {
    None
}

fn ask_at(endpoint: Endpoint, until: Instant) -> (Endpoint, Claim) {
    let claim = verify_claim(&endpoint, &Policy::default(), until.min(Instant::now() + ASK_TIMEOUT));
    (endpoint, claim)
}

/// The answer of a process to a probe.
struct Answer {
    identity: Option<DaemonProcess>,
    leads_here: Option<bool>,
    proof: Result<ProofLevel, Failure>,
    /// The proof for people, or the reason why there is none in a few words.
    outcome: (&'static str, Style),
}

impl Answer {
    fn of(endpoint: &Endpoint, claim: Claim) -> Self {
        let Claim { identity, proof, .. } = claim;
        let proof = proof.map(|proof| proof.level).map_err(|unverified| unverified.error);
        let plain = Style::new();
        let outcome = match (&proof, &identity) {
            (Ok(level), _) => (level_name(*level), AnsiColor::Green.on_default()),
            (Err(error), Some(_)) if advice::claim(error).verdict == Verdict::No => {
                ("contradicted", AnsiColor::Red.on_default())
            }
            (Err(_), Some(_)) => ("unproven", AnsiColor::Yellow.on_default()),
            (Err(ProbeError::TimedOut), None) => ("no answer", plain),
            (Err(ProbeError::Closed), None) => ("closed", plain),
            (Err(ProbeError::Connect(_)), None) => ("no connection", plain),
            (Err(_), None) => ("other protocol", plain),
        };
        let leads_here = identity.as_ref().map(|identity| leads_to(identity, endpoint));
        Self { identity, leads_here, proof: proof.map_err(unconfirmed), outcome }
    }

    /// Adds the answer to the object of its socket.
    fn describe(&self, object: &mut Value) {
        object["identity"] = json!(self.identity);
        object["leads_here"] = json!(self.leads_here);
        object["proof"] = json!(self.proof.as_ref().ok().map(|level| level_name(*level)));
        if let Err(failure) = &self.proof {
            object["error"] = json!(failure.report());
        }
        let verdict = self.proof.as_ref().map_or_else(Failure::verdict, |_| Verdict::Yes);
        object["verdict"] = verdict.name().into();
    }
}

/// A socket, with the answer if it was asked.
struct Other {
    socket: ListeningSocket,
    answer: Option<Answer>,
}

impl Other {
    fn cells(&self) -> [Cell; 4] {
        let Self { socket, .. } = self;
        let unknown = if socket.has_all_owners { "none" } else { "unknown" };
        let (pid, program) = match &socket.owners[..] {
            [] => (unknown.to_owned(), unknown.to_owned()),
            [first, others @ ..] => {
                let more = if others.is_empty() { String::new() } else { format!(" +{}", others.len()) };
                let program = first.program.as_ref().map(|program| program.display().to_string());
                (format!("{}{more}", first.pid), program.unwrap_or_else(|| "unknown".to_owned()))
            }
        };
        let user = socket.uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string());
        [Cell::new(&socket.name), Cell::new(pid), Cell::new(program), Cell::new(user)]
    }

    fn asked_cells(&self) -> [Cell; 6] {
        let [name, pid, program, user] = self.cells();
        let identity = self.answer.as_ref().and_then(|answer| answer.identity.as_ref());
        let claims = identity.map_or_else(|| "-".to_owned(), |identity| process(identity).to_string());
        let (outcome, style) =
            self.answer.as_ref().map_or(("not asked", Style::new()), |answer| answer.outcome);
        [name, pid, program, user, Cell::new(claims), Cell::styled(outcome, style)]
    }

    fn object(&self) -> Value {
        let Self { socket, answer } = self;
        let mut object = json!({
            "socket": socket.name.to_string(),
            "inode": socket.inode,
            "uid": socket.uid,
            "owners": socket.owners.iter().map(process_json).collect::<Vec<_>>(),
            "has_all_owners": socket.has_all_owners,
            "is_reachable": socket.is_reachable(),
            "waiting": socket.queue.map(|queue| queue.waiting),
            "asked": answer.is_some(),
        });
        if let Some(answer) = answer {
            answer.describe(&mut object);
        }
        object
    }
}
