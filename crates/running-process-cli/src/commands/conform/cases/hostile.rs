//! Input that is meant to harm: the daemon goes on for everybody else.

use crate::commands::conform::case::{Case, Need};
use crate::commands::conform::connection::open;
use crate::commands::conform::fault::Fault;
use crate::commands::conform::frame::{HEADER, MAX_BODY, RawFrame, framed, header};
use crate::commands::conform::protobuf::varint;
use crate::commands::conform::trial::Trial;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const HEADER_SECTION: &str = "Header";
const FRAME: &str = "Frame";
const BOUNDS: &str = "Bounds";
const ECHO: &[Need] = &[Need::Echo];

/// The time without room in a socket after which its reader counts as one that does not read.
const FULL: Duration = Duration::from_millis(200);

pub(super) static CASES: &[Case] = &[
    Case::must("hostile-random-bytes", HEADER_SECTION, "Random bytes harm no other connection.", |trial| {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for length in 1..=64 {
            let mut connection = trial.connect()?;
            connection.send(&random.bytes(length * 31))?;
        }
        trial.still_serves()
    }),
    Case::must(
        "hostile-random-bodies",
        HEADER_SECTION,
        "Random bodies behind valid headers harm no other connection.",
        |trial| {
            let mut random = Random(0x2545_f491_4f6c_dd1d);
            for length in 1..=64 {
                let mut connection = trial.connect()?;
                connection.send(&framed(&random.bytes(length)))?;
                connection.end_writing()?;
            }
            trial.still_serves()
        },
    ),
    Case::must(
        "hostile-flipped-bits",
        FRAME,
        "A request with any bit flipped harms no other connection.",
        |trial| {
            let request = trial.echo(1, b"flipped").bytes();
            for bit in 0..request.len() * 8 {
                let mut flipped = request.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let mut connection = trial.connect()?;
                connection.send(&flipped)?;
            }
            trial.echoes(&mut trial.connect()?, 1, b"unharmed")
        },
    )
    .needs(ECHO),
    Case::must(
        "hostile-dribble",
        BOUNDS,
        "Others are served while a frame comes one byte at a time.",
        |trial| {
            let (mut slow, mut other) = (trial.connect()?, trial.connect()?);
            let request = trial.echo(1, b"dribbled").bytes();
            for (index, byte) in request.iter().enumerate() {
                slow.send(&[*byte])?;
                other.probe(index as u64, [8; 32])?;
            }
            slow.expect(&trial.response(1, *b"dribbled"))
        },
    )
    .needs(ECHO),
    Case::must(
        "hostile-unfinished-headers",
        BOUNDS,
        "Others are served beside frames that are never finished.",
        |trial| {
            let mut unfinished = Vec::new();
            for length in [1, 2, 4, HEADER, HEADER + 1].into_iter().cycle().take(50) {
                let mut connection = trial.connect()?;
                connection.send(&RawFrame::probe(1, &[1; 32]).bytes()[..length])?;
                unfinished.push(connection);
            }
            trial.still_serves()
        },
    )
    .alone(),
    Case::must(
        "hostile-claimed-lengths",
        HEADER_SECTION,
        "Fifty frames that claim 16 MiB and send none do not stop it.",
        |trial| {
            let mut claiming = Vec::new();
            for _ in 0..50 {
                let mut connection = trial.connect()?;
                connection.send(&header(MAX_BODY))?;
                claiming.push(connection);
            }
            trial.still_serves()
        },
    )
    .alone(),
    Case::must(
        "hostile-dropped-connections",
        BOUNDS,
        "Connections that are opened and dropped harm no other one.",
        |trial| {
            for _ in 0..300 {
                drop(trial.connect()?);
            }
            trial.still_serves()
        },
    )
    .alone(),
    Case::must(
        "hostile-held-connections",
        BOUNDS,
        "A hundred idle connections do not keep others out.",
        |trial| {
            let _held = (0..100).map(|_| trial.connect()).collect::<Result<Vec<_>, _>>()?;
            trial.still_serves()
        },
    )
    .alone(),
    Case::must(
        "hostile-dropped-requests",
        BOUNDS,
        "Clients that do not wait for their answers harm no other one.",
        |trial| {
            for _ in 0..100 {
                trial.connect()?.send(&trial.echo(1, &[b'd'; 4096]).bytes())?;
            }
            trial.echoes(&mut trial.connect()?, 1, b"unharmed")
        },
    )
    .needs(ECHO)
    .alone(),
    Case::must(
        "hostile-slow-reader",
        BOUNDS,
        "A client that reads no answers does not keep others waiting.",
        |trial| {
            let flood: Vec<u8> =
                (1..=64).flat_map(|id| trial.echo(id, &vec![b's'; 256 * 1024]).bytes()).collect();
            let slow = flooded(trial, &flood)?;
            trial.echoes(&mut trial.connect()?, 1, b"meanwhile")?;
            trial.still_serves()?;
            drop(slow);
            trial.still_serves()
        },
    )
    .needs(ECHO)
    .alone(),
    Case::must(
        "hostile-nested-groups",
        FRAME,
        "Ten thousand groups in each other do not end the daemon.",
        |trial| {
            let begin = varint_key(20, 3).repeat(10_000);
            let end = varint_key(20, 4).repeat(10_000);
            let mut connection = trial.connect()?;
            connection.send(&framed(&[begin, end, RawFrame::probe(1, &[1; 32]).body()].concat()))?;
            connection.end_writing()?;
            trial.still_serves()
        },
    ),
    Case::must(
        "hostile-many-fields",
        FRAME,
        "A request with a quarter of a million unknown fields is served.",
        |trial| {
            let unknown = varint(2000, 1).repeat(250_000);
            let mut connection = trial.connect()?;
            connection.send(&framed(&[unknown, trial.echo(1, b"found").body()].concat()))?;
            connection.expect(&trial.response(1, *b"found"))
        },
    )
    .needs(ECHO),
    Case::must(
        "hostile-many-cancels",
        "Cancels",
        "Ten thousand cancels of nothing do not end the connection.",
        |trial| {
            let cancels: Vec<u8> =
                (1..=10_000).flat_map(|id| RawFrame::cancel(trial.target.protocol, id).bytes()).collect();
            let mut connection = trial.connect()?;
            connection.send(&cancels)?;
            trial.echoes(&mut connection, 1, b"goes on")
        },
    )
    .needs(ECHO),
];

/// Returns a connection whose daemon can write no more answers, or has buffered all of them.
fn flooded(trial: &Trial<'_>, requests: &[u8]) -> Result<UnixStream, Fault> {
    let failed = |error: std::io::Error| Fault::new("the daemon reads requests", error.to_string());
    let mut stream = open(&trial.target.socket).map_err(failed)?;
    stream.set_write_timeout(Some(FULL)).map_err(failed)?;
    // An error says that there is no more room, or that the daemon has ended this connection, as it may.
    let _full_or_ended = stream.write_all(requests);
    Ok(stream)
}

fn varint_key(tag: u64, wire_type: u64) -> Vec<u8> {
    let mut key = Vec::new();
    crate::commands::conform::protobuf::put_varint(tag << 3 | wire_type, &mut key);
    key
}

/// Numbers by xorshift, the same in each run.
struct Random(u64);

impl Random {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_le_bytes()[3]
        };
        (0..length).map(|_| next()).collect()
    }
}
