//! `demo`: starts a daemon in its own process and shows the three kinds of traffic on its one socket.

mod conversation;
mod daemon;
#[cfg(unix)]
mod impostor;

use super::probe::failure;
use super::probe::steps::{StepLine, level_name};
use crate::cli::DemoArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::{safe, shell_word};
use crate::verdict::Verdict;
use crate::wire::{self, Layout, Palette, counted, render};
use anstyle::{AnsiColor, Style};
use conversation::{Conversation, Pieces};
use daemon::Daemon;
use resp_cache::PAYLOAD_PROTOCOL;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::judge::compare;
use running_process::broker::backend_lifecycle::probe::{DEFAULT_PROBE_TIMEOUT, EndpointProbeChallenge};
use running_process::broker::backend_lifecycle::verify::{Policy, verify};
use running_process::broker::protocol::{FrameRef, FramingError, try_decode_framed_ref};
use serde_json::json;
use std::time::Instant;

/// The requests and replies on the legacy wire, and a framed request with the same reply.
const LEGACY_SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$8\r\ngreeting\r\n$5\r\nhello\r\n";
const LEGACY_GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$8\r\ngreeting\r\n";
const FRAMED_GET: &[u8] = b"GET greeting";
const SET_REPLY: &[u8] = b"+OK\r\n";
const GET_REPLY: &[u8] = b"$5\r\nhello\r\n";

/// Bytes in a line of hex. Eight fit a terminal of 80 columns and the longest field of the demo's frames.
const BYTES_PER_LINE: usize = 8;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();

pub(super) fn run(arguments: &DemoArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let daemon = Daemon::start()?;
    let identity = daemon.identity()?;
    let socket = identity.ipc_endpoint.path.clone();
    output.line(format_args!("{BOLD}One socket, three kinds of traffic{BOLD:#}\n"))?;
    output.line(format_args!(
        "  daemon         process {}, an in-memory cache, ready in {:.0?}",
        identity.pid, daemon.started_in
    ))?;
    output.line(format_args!("  socket         {}", safe(&socket)))?;
    output.line(format_args!("  identity file  {}", safe(daemon.identity_file.display())))?;
    output.object(json!({
        "step": "start", "pid": identity.pid, "socket": socket,
        "identity_file": daemon.identity_file.display().to_string(), "took_us": micros(daemon.started_in),
    }))?;

    let mut demo = Demo { socket: &socket, identity: &identity, output };
    demo.title("1. The daemon's own wire: RESP2, which redis-cli speaks")?;
    demo.legacy(Pieces::Whole)?;
    demo.title("2. An identity probe: which process answers?")?;
    demo.probe(Pieces::Whole)?;
    demo.proof()?;
    demo.title("3. A framed request to the same cache")?;
    demo.framed(Pieces::Whole)?;
    demo.title("4. All three again, one byte at a time")?;
    demo.legacy(Pieces::Bytes)?;
    demo.probe(Pieces::Bytes)?;
    demo.framed(Pieces::Bytes)?;
    demo.title("5. An impostor takes the socket's path")?;
    demo.impostor()?;

    if arguments.keep {
        keep(daemon, &identity, output)?;
    } else {
        let took = daemon.stop(&identity)?;
        output.line(format_args!(
            "\nThe daemon was stopped and removed its socket and identity file in {took:.0?}."
        ))?;
        output.line("Run `running-process demo --keep` to try it yourself.")?;
        output.object(json!({ "step": "stop", "took_us": micros(took) }))?;
    }
    Ok(Verdict::Yes)
}

struct Demo<'a> {
    socket: &'a str,
    identity: &'a DaemonProcess,
    output: &'a mut Output,
}

impl Demo<'_> {
    fn title(&mut self, title: &str) -> Result<(), Failure> {
        self.output.line(format_args!("\n{BOLD}{title}{BOLD:#}"))
    }

    fn legacy(&mut self, pieces: Pieces) -> Result<(), Failure> {
        let mut conversation = Conversation::open(self.socket, pieces)?;
        for (request, reply) in [(LEGACY_SET, SET_REPLY), (LEGACY_GET, GET_REPLY)] {
            conversation.send(request)?;
            let received = conversation.receive(|received| received.len() >= reply.len())?;
            expect("the legacy reply", received == reply)?;
            self.exchange(
                pieces,
                &format!("-> {}", visible(request)),
                &format!("<- {}", visible(&received)),
            )?;
        }
        self.took("legacy", &conversation)
    }

    fn probe(&mut self, pieces: Pieces) -> Result<(), Failure> {
        let mut conversation = Conversation::open(self.socket, pieces)?;
        let challenge = EndpointProbeChallenge::random()?;
        let request = framed(&challenge.request())?;
        conversation.send(&request)?;
        let received = conversation.receive(is_whole_frame)?;
        let response = decoded(&received)?;
        let identity = challenge.identity(&response).map_err(Failure::negative)?;
        expect("the identity", compare(self.identity, &identity).iter().all(|check| check.agrees))?;
        self.exchange(pieces, &wire::summarize(&request), &wire::summarize(&received))?;
        self.took("probe", &conversation)
    }

    /// Verifies the daemon. Its answer is public data, so the proof is what the kernel reports about the connection.
    fn proof(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let proof = verify(self.identity, &Policy::default(), started + DEFAULT_PROBE_TIMEOUT)
            .map_err(|unverified| failure(unverified.error))?;
        let took = started.elapsed();
        for step in &proof.steps {
            self.output.line(format_args!("   {}", StepLine(step)))?;
        }
        self.output
            .line(format_args!("   {GREEN}proven{GREEN:#}: {}, {DIM}{took:.0?}{DIM:#}", proof.level))?;
        self.output
            .object(json!({ "step": "proof", "level": level_name(proof.level), "took_us": micros(took) }))
    }

    fn framed(&mut self, pieces: Pieces) -> Result<(), Failure> {
        let mut conversation = Conversation::open(self.socket, pieces)?;
        let request = framed(&FrameRef::request(PAYLOAD_PROTOCOL, 1, FRAMED_GET))?;
        conversation.send(&request)?;
        let received = conversation.receive(is_whole_frame)?;
        expect("the framed reply", decoded(&received)?.payload == GET_REPLY)?;
        self.exchange(pieces, &wire::summarize(&request), &wire::summarize(&received))?;
        if pieces == Pieces::Whole {
            self.annotate(&request)?;
        }
        self.took("framed", &conversation)
    }

    /// Shows a frame byte by byte.
    fn annotate(&mut self, frame: &[u8]) -> Result<(), Failure> {
        let layout = Layout { palette: Palette::coloured(), bytes_per_line: BYTES_PER_LINE };
        for frame in wire::annotate(frame) {
            let text = render::frame(0, &frame, layout).to_string();
            // The summary has printed the title, which is the first line.
            for line in text.lines().skip(1).take_while(|line| !line.is_empty()) {
                self.output.line(format_args!("      {line}"))?;
            }
        }
        Ok(())
    }

    /// Shows a request and its reply. In the step that sends byte by byte they are the same, so they are not repeated.
    fn exchange(&mut self, pieces: Pieces, request: &str, reply: &str) -> Result<(), Failure> {
        if pieces == Pieces::Whole {
            self.output.line(format_args!("   {request}"))?;
            self.output.line(format_args!("   {reply}"))?;
        }
        Ok(())
    }

    fn took(&mut self, step: &str, conversation: &Conversation) -> Result<(), Failure> {
        let Conversation { sent, received, writes, took, pieces, .. } = conversation;
        let same = match pieces {
            Pieces::Whole => String::new(),
            Pieces::Bytes => format!("{step:<7} {GREEN}same answer{GREEN:#}: "),
        };
        self.output.line(format_args!(
            "   {same}{} out in {}, {} back, {DIM}{took:.0?}{DIM:#}",
            counted(sent.len(), "byte"),
            counted(*writes, "write"),
            counted(received.len(), "byte")
        ))?;
        self.output.object(json!({
            "step": step, "one_byte_at_a_time": *pieces == Pieces::Bytes, "sent": sent, "received": received,
            "writes": writes, "took_us": micros(*took),
        }))
    }

    #[cfg(unix)]
    fn impostor(&mut self) -> Result<(), Failure> {
        let pid = std::process::id();
        let refusal = impostor::refused(self.identity)?;
        self.output.line(format_args!(
            "   process {pid} listens there now and answers with the daemon's identity, byte for byte"
        ))?;
        self.output.line(format_args!(
            "   its answer alone would prove it: all {} comparisons agree",
            refusal.comparisons
        ))?;
        for step in &refusal.steps {
            self.output.line(format_args!("   {}", StepLine(step)))?;
        }
        self.output.line(format_args!("   {GREEN}refused before a byte was sent{GREEN:#}"))?;
        self.output
            .object(json!({ "step": "impostor", "impostor_pid": pid, "refused": refusal.error.to_string() }))
    }

    #[cfg(not(unix))]
    fn impostor(&mut self) -> Result<(), Failure> {
        self.output.line("   not shown: no process can take the name of a pipe while its owner runs")?;
        self.output.object(json!({ "step": "impostor", "unsupported": "no process can take the name of a pipe while its owner runs" }))
    }
}

fn keep(daemon: Daemon, identity: &DaemonProcess, output: &mut Output) -> Result<(), Failure> {
    let identity_file = daemon.identity_file.display();
    let socket = &identity.ipc_endpoint.path;
    let pid = identity.pid;
    let command = std::env::current_exe()?;
    let command = command.display();
    let commands = [
        ("the legacy wire", format!("redis-cli -s {socket} get greeting")),
        ("the proof", format!("{command} probe {identity_file}")),
        (
            "the framed lane",
            format!("{command} call {identity_file} --protocol 0x{PAYLOAD_PROTOCOL:04X} 'GET greeting'"),
        ),
        ("the end", format!("kill {pid}")),
        ("then its files", format!("rm -r {}", shell_word(daemon.directory()))),
    ];
    output.line(format_args!("\n{BOLD}The daemon keeps running. Try:{BOLD:#}"))?;
    for (what, command) in &commands {
        output.line(format_args!("   {DIM}{what:<16}{DIM:#}{}", safe(command)))?;
    }
    let commands: Vec<_> = commands.iter().map(|(_, command)| command).collect();
    output.object(json!({ "step": "keep", "pid": pid, "commands": commands }))?;
    daemon.leave_running();
    Ok(())
}

fn framed(frame: &FrameRef<'_>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    frame.encode_framed(&mut bytes).map_err(Failure::undecided)?;
    Ok(bytes)
}

fn is_whole_frame(received: &[u8]) -> bool {
    !matches!(try_decode_framed_ref(received), Ok(None))
}

fn decoded(received: &[u8]) -> Result<FrameRef<'_>, Failure> {
    let decoded = try_decode_framed_ref(received).map_err(Failure::negative)?;
    let truncated = || Failure::negative(FramingError::UnexpectedEof { context: "the daemon's response" });
    Ok(decoded.ok_or_else(truncated)?.frame)
}

fn expect(what: &str, is_right: bool) -> Result<(), Failure> {
    if is_right { Ok(()) } else { Err(Failure::negative(format!("{what} is not the expected one"))) }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Formats bytes with their line ends escaped.
fn visible(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
