//! Ten thousand connections on one daemon, half of them hostile: the honest half is served as if it were alone.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::protocol::{Frame, FrameRef, encode_framed, try_decode_framed};
use running_process_acceptance::Daemon;
use running_process_acceptance::crowd::{ECHO, LARGE, raise_descriptor_limit};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet};

/// Number of connections in all, where the limit of descriptors allows them.
const CONNECTIONS: usize = 10_000;
/// Memory that the daemon may use for buffers and requests, in bytes.
const MEMORY: usize = 256 << 20;
/// Honest requests that are under way at once.
const WORKERS: usize = 8;
/// Longer than the whole test takes.
const TEST_TIMEOUT: Duration = Duration::from_mins(5);

struct Crowd {
    daemon: Daemon,
}

impl Crowd {
    fn start(connections: usize) -> Self {
        let daemon = Daemon::start(|socket, identity_file| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_crowd-daemon"));
            command.arg(socket).arg(identity_file).args([connections.to_string(), MEMORY.to_string()]);
            command
        });
        Self { daemon }
    }

    async fn connect(&self) -> UnixStream {
        loop {
            match UnixStream::connect(&self.daemon.socket).await {
                // The backlog is full for a moment; the daemon gets the processor next.
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tokio::task::yield_now().await;
                }
                connected => return connected.unwrap(),
            }
        }
    }

    async fn connections(&self, count: usize) -> Vec<UnixStream> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(self.connect().await);
        }
        all
    }

    /// Returns the value of a line of the daemon's `/proc/PID/status`, in bytes.
    fn status(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let number: usize = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
        number * 1024
    }
}

fn request(protocol: u32, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    FrameRef::request(protocol, id, payload).encode_framed(&mut wire).unwrap();
    wire
}

async fn response(stream: &mut UnixStream) -> Frame {
    let mut received = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "an honest connection was dropped");
        if let Some(decoded) = try_decode_framed(&received).unwrap() {
            assert_eq!(decoded.consumed, received.len());
            return decoded.frame;
        }
    }
}

/// Sends a request on every connection, a few at a time, and returns the sorted latencies.
async fn round(connections: Vec<UnixStream>) -> (Vec<UnixStream>, Vec<Duration>) {
    let mut workers = JoinSet::new();
    let mut shares: Vec<Vec<UnixStream>> = (0..WORKERS).map(|_| Vec::new()).collect();
    for (number, connection) in connections.into_iter().enumerate() {
        shares[number % WORKERS].push(connection);
    }
    for mut share in shares {
        workers.spawn(async move {
            let mut took = Vec::with_capacity(share.len());
            for (id, connection) in (1..).zip(&mut share) {
                let began = Instant::now();
                connection.write_all(&request(ECHO, id, b"honest")).await.unwrap();
                let answer = response(connection).await;
                took.push(began.elapsed());
                assert_eq!((answer.request_id, &answer.payload[..]), (id, &b"honest"[..]), "{answer:?}");
            }
            (share, took)
        });
    }
    let (mut connections, mut latencies) = (Vec::new(), Vec::new());
    for (share, took) in workers.join_all().await {
        connections.extend(share);
        latencies.extend(took);
    }
    latencies.sort_unstable();
    (connections, latencies)
}

fn median(latencies: &[Duration]) -> Duration {
    latencies[latencies.len() / 2]
}

/// The behaviour of a hostile client on its connection, for as long as the daemon lets it.
#[derive(Clone, Copy, Debug)]
enum Hostile {
    /// Sends nothing.
    Silent,
    /// Sends a byte of a request now and then.
    Dripping,
    /// Claims 16 MiB after a valid request, and sends a little of it.
    Claiming,
    /// Sends requests for as long as they are taken.
    Flooding,
    /// Requests large answers and reads nothing.
    NeverReading,
}

const HOSTILE: [Hostile; 5] =
    [Hostile::Silent, Hostile::Dripping, Hostile::Claiming, Hostile::Flooding, Hostile::NeverReading];

async fn misbehave(kind: Hostile, mut stream: UnixStream) {
    // Any reaction of the daemon is right, as long as it does not affect other connections.
    let _ended = async {
        match kind {
            Hostile::Silent => {}
            Hostile::Dripping => {
                for byte in request(ECHO, 1, &[0; 1000]) {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
            Hostile::Claiming => {
                stream.write_all(&request(ECHO, 1, b"")).await?;
                stream.write_all(&[1, 0, 0, 0, 1]).await?;
                stream.write_all(&[0; 8 * 1024]).await?;
            }
            Hostile::Flooding => {
                let burst = request(ECHO, 1, &[0; 100]).repeat(1000);
                loop {
                    stream.write_all(&burst).await?;
                }
            }
            Hostile::NeverReading => {
                let many: Vec<u8> = (0..32).flat_map(|id| request(LARGE, id, b"")).collect();
                stream.write_all(&many).await?;
            }
        }
        std::future::pending::<std::io::Result<()>>().await
    }
    .await;
}

/// Starts `count` hostile clients, and gives them time to act.
async fn start_hostile(crowd: &Crowd, count: usize) -> Vec<JoinHandle<()>> {
    let mut hostile = Vec::with_capacity(count);
    for (number, stream) in crowd.connections(count).await.into_iter().enumerate() {
        hostile.push(tokio::spawn(misbehave(HOSTILE[number % HOSTILE.len()], stream)));
    }
    hostile
}

#[test]
fn half_of_ten_thousand_connections_may_be_hostile() {
    let descriptors = usize::try_from(raise_descriptor_limit().unwrap()).unwrap_or(usize::MAX);
    let connections = CONNECTIONS.min(descriptors.saturating_sub(200)) / 10 * 10;
    if connections < CONNECTIONS {
        println!("{connections} connections: the limit of descriptors is {descriptors}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all = tokio::time::timeout(TEST_TIMEOUT, crowd(connections));
        all.await.expect("the crowd is served in time");
    });
}

async fn crowd(connections: usize) {
    let crowd = Crowd::start(connections + 100);
    let alone = crowd.status("VmRSS");
    let idle = crowd.connections(connections / 2).await;
    // The last one is answered, so all of them are accepted.
    let (mut honest, _) = round(idle).await;
    let each = crowd.status("VmRSS").saturating_sub(alone) / honest.len();
    println!("{} idle connections: {each} bytes of the daemon each", honest.len());

    let mut undisturbed = Vec::new();
    for _ in 0..3 {
        let (connections, latencies) = round(honest).await;
        honest = connections;
        undisturbed.push(median(&latencies));
    }
    let hostile = start_hostile(&crowd, connections / 2).await;
    // The first round runs while they begin, and does not count.
    let (connections, _) = round(honest).await;
    honest = connections;
    let mut disturbed = Vec::new();
    for _ in 0..3 {
        let (connections, latencies) = round(honest).await;
        honest = connections;
        disturbed.push(median(&latencies));
    }
    let peak = crowd.status("VmHWM") - alone;
    undisturbed.sort_unstable();
    disturbed.sort_unstable();
    println!("median latency alone {undisturbed:?}, with as many hostile {disturbed:?}");
    println!("peak memory {} MiB, the budget is {} MiB", peak >> 20, MEMORY >> 20);
    // The best round of each, because the machine is shared.
    assert!(disturbed[0] <= 2 * undisturbed[0], "{disturbed:?} is more than twice {undisturbed:?}");
    assert!(peak <= MEMORY, "{peak} bytes");
    // No honest connection was dropped: `round` checks that. And there is room for another one.
    let mut newcomer = crowd.connect().await;
    newcomer.write_all(&encode_framed(&Frame::request(ECHO, b"late".to_vec())).unwrap()).await.unwrap();
    assert_eq!(response(&mut newcomer).await.payload, b"late");
    for client in hostile {
        client.abort();
    }
}
