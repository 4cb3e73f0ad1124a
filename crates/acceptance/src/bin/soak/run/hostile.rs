//! Hostile peers: garbage, frames that are cut, floods that nobody reads, silence, resets.

use super::stop::Stop;
use crate::random::Random;
use crate::work::Mode;
use crate::work::{QUICK, WORK, Work};
use running_process::broker::protocol::{Frame, encode_framed};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Silent connections that are held at once, to one endpoint.
const SILENT: usize = 12;
/// The longest time that a hostile peer waits for a daemon.
const PATIENCE: Duration = Duration::from_millis(300);

const KINDS: [&str; 8] =
    ["garbage", "half frames", "oversized", "floods", "silent", "resets", "drips", "ended at once"];

/// Attacks the endpoint `name` at `socket` until the run stops, and returns how often by kind.
pub(super) fn run(
    socket: &Path,
    name: &str,
    seed: u64,
    pause: Duration,
    stop: &Stop,
) -> BTreeMap<&'static str, u64> {
    let mut random = Random::new(seed, name);
    let mut counts = BTreeMap::new();
    let mut held: VecDeque<(Instant, UnixStream)> = VecDeque::new();
    while !stop.wait(random.about(pause)) {
        let kind = KINDS[random.index(KINDS.len())];
        while held.front().is_some_and(|(until, _)| *until < Instant::now()) || held.len() > SILENT {
            held.pop_front();
        }
        // The daemon may have gone, or ends the connection as it should.
        if let Ok(silent) = attack(socket, kind, &mut random) {
            *counts.entry(kind).or_default() += 1;
            let time = Duration::from_millis(random.of(10..4000));
            held.extend(silent.map(|silent| (Instant::now() + time, silent)));
        }
    }
    counts
}

fn request(random: &mut Random, protocol: u32) -> Vec<u8> {
    let work = Work {
        number: 0,
        time: Duration::ZERO,
        request: random.index(2000),
        answer: 3000,
        mode: Mode::Bytes,
    };
    encode_framed(&Frame::request(protocol, work.payload()).with_request_id(random.of(0..1000))).unwrap()
}

/// Returns the connection if it is to be held.
fn attack(socket: &Path, kind: &str, random: &mut Random) -> io::Result<Option<UnixStream>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let protocol = if random.once_in(2) { QUICK } else { WORK };
    match kind {
        "garbage" => {
            let length = 1 + random.index(5000);
            let mut bytes = random.bytes(length);
            if random.once_in(2) {
                bytes[0] = 1;
            }
            ignored(stream.write_all(&bytes))?;
            read_a_little(&mut stream);
        }
        "half frames" => {
            let frame = request(random, protocol);
            ignored(stream.write_all(&frame[..=random.index(frame.len() - 1)]))?;
            return Ok(random.once_in(2).then_some(stream));
        }
        "oversized" => {
            ignored(stream.write_all(&[&[1, 255, 255, 255, 255][..], &random.bytes(600)].concat()))?;
            read_a_little(&mut stream);
        }
        "floods" => {
            let requests: Vec<u8> = (0..100).flat_map(|_| request(random, protocol)).collect();
            // The daemon stops reading while its answers are not read.
            ignored(stream.write_all(&requests))?;
            return Ok(Some(stream));
        }
        "silent" => return Ok(Some(stream)),
        "resets" => {
            let count = 1 + random.index(20);
            let requests: Vec<u8> = (0..count).flat_map(|_| request(random, protocol)).collect();
            ignored(stream.write_all(&requests))?;
        }
        "drips" => {
            let frame = request(random, protocol);
            for byte in frame.iter().take(1 + random.index(30)) {
                ignored(stream.write_all(&[*byte]))?;
            }
        }
        _ => {}
    }
    Ok(None)
}

/// Takes it for done if the daemon does not read, or has ended the connection.
fn ignored(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionReset
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn read_a_little(stream: &mut UnixStream) {
    // Anything is right: an answer, the end, a reset, nothing.
    let _ = stream.read(&mut [0; 1024]);
}
