//! Many connections to one server, driven by one thread that knows nothing of the server's client library.

use super::{Client, PROTOCOL, Server, blocking, redis, ttrpc};
use crate::floor::wire;
use crate::process::allow_many_files;
use crate::scratch::Scratch;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The size of a payload, in bytes.
const SMALL: usize = 64;

/// The length of a measurement at one load.
const TRIAL: Duration = Duration::from_millis(150);

/// The latency that 99 of 100 requests of [`Crowd::highest_rate_within_bound`] must not exceed.
const BOUND: Duration = Duration::from_millis(1);

/// Loads that [`Crowd::highest_rate_within_bound`] tries.
const TRIES: u32 = 6;

/// The connections, and the one request that all of them send.
pub struct Crowd {
    pub server: Server,
    streams: Vec<UnixStream>,
    request: Vec<u8>,
    response: Vec<u8>,
    poller: OwnedFd,
}

impl Crowd {
    /// Connects to a new server of that name and exchanges a request on each connection.
    pub fn connect(scratch: &Scratch, server: &str, connections: usize) -> Self {
        allow_many_files();
        let request = match server {
            "redis" => redis::echo(SMALL),
            "ttrpc-tokio" => ttrpc::wire(SMALL),
            _ => frame(),
        };
        let server = Server::start(scratch, server);
        let poller = epoll::create(CreateFlags::CLOEXEC).expect("a poller");
        let mut streams: Vec<UnixStream> = (0..connections).map(|_| server.connect()).collect();
        let mut response = Vec::new();
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&request).unwrap();
            // A response is small, so it arrives whole.
            let mut buffer = [0; 4 * SMALL];
            let length = stream.read(&mut buffer).unwrap();
            response.resize(length, 0);
            epoll::add(&poller, &*stream, EventData::new_u64(index as u64), EventFlags::IN).unwrap();
        }
        Self { server, streams, request, response, poller }
    }

    /// Returns a client whose operation is an exchange on each connection, where all have one request in flight: the next
    /// request of a connection follows its response.
    pub fn in_turn(self) -> Client {
        let Self { server, mut streams, request, mut response, .. } = self;
        for stream in &mut streams {
            stream.write_all(&request).unwrap();
        }
        blocking(server, move || {
            for stream in &mut streams {
                stream.read_exact(&mut response).unwrap();
                stream.write_all(&request).unwrap();
            }
        })
    }

    /// Returns the requests in a second with one in flight on each connection.
    pub fn highest_rate(&mut self) -> f64 {
        let begin = Instant::now();
        for stream in &mut self.streams {
            stream.write_all(&self.request).unwrap();
        }
        let mut answered = 0;
        while begin.elapsed() < TRIAL {
            for stream in &mut self.streams {
                stream.read_exact(&mut self.response).unwrap();
                stream.write_all(&self.request).unwrap();
            }
            answered += self.streams.len();
        }
        let rate = answered as f64 / begin.elapsed().as_secs_f64();
        for stream in &mut self.streams {
            stream.read_exact(&mut self.response).unwrap();
        }
        rate
    }

    /// Returns the highest rate at which 99 of 100 requests are answered within [`BOUND`]; zero if there is none.
    pub fn highest_rate_within_bound(&mut self) -> f64 {
        // More than one request may be in flight on a connection, so the rate may be higher.
        let (mut good, mut bad) = (0.0, 2.0 * self.highest_rate());
        for _ in 0..TRIES {
            let rate = f64::midpoint(good, bad);
            if self.latency_at(rate, 0.99) <= BOUND.as_nanos() as f64 {
                good = rate;
            } else {
                bad = rate;
            }
        }
        good
    }

    /// Sends requests at equal intervals, on one connection after the other, and returns a quantile of their latencies in
    /// nanoseconds. Each counts from the time at which its request was due.
    pub fn latency_at(&mut self, rate: f64, quantile: f64) -> f64 {
        let total = ((rate * TRIAL.as_secs_f64()) as usize).max(1);
        let mut latencies = self.paced(rate, total);
        latencies.sort_unstable();
        let index = (quantile * latencies.len() as f64) as usize;
        latencies[index.min(latencies.len() - 1)].as_nanos() as f64
    }

    fn paced(&mut self, rate: f64, total: usize) -> Vec<Duration> {
        self.block(false);
        let mut in_flight = vec![VecDeque::new(); self.streams.len()];
        let mut latencies = Vec::with_capacity(total);
        let (mut sent, mut events) = (0, Vec::with_capacity(self.streams.len()));
        let begin = Instant::now();
        while latencies.len() < total {
            while sent < total {
                let due = Duration::from_secs_f64(sent as f64 / rate);
                let connection = sent % self.streams.len();
                if due > begin.elapsed() || !self.send(connection) {
                    break;
                }
                in_flight[connection].push_back(due);
                sent += 1;
            }
            events.clear();
            // Without a pause: the system would wake this thread later than the next request is due.
            epoll::wait(&self.poller, spare_capacity(&mut events), Some(&Timespec::default())).unwrap();
            for event in &events {
                let connection = event.data.u64() as usize;
                let answered = self.receive(connection);
                let now = begin.elapsed();
                latencies.extend(in_flight[connection].drain(..answered).map(|due| now.saturating_sub(due)));
            }
        }
        self.block(true);
        latencies
    }

    fn block(&self, blocking: bool) {
        for stream in &self.streams {
            stream.set_nonblocking(!blocking).expect("a socket has the mode");
        }
    }

    /// Sends a request; returns `false` if there is no room for it.
    fn send(&mut self, connection: usize) -> bool {
        match self.streams[connection].write(&self.request) {
            Ok(length) => assert_eq!(length, self.request.len(), "a small request is sent whole"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the server is gone: {error}"),
        }
        true
    }

    /// Reads the responses that have arrived and returns their number.
    fn receive(&mut self, connection: usize) -> usize {
        let mut buffer = [0; 16 * 1024];
        let most = buffer.len() / self.response.len() * self.response.len();
        let stream = &mut self.streams[connection];
        let mut length = stream.read(&mut buffer[..most]).unwrap();
        let rest = length % self.response.len();
        if rest > 0 {
            // The rest of a response has been written or will be at once.
            let whole = length + self.response.len() - rest;
            stream.set_nonblocking(false).unwrap();
            stream.read_exact(&mut buffer[length..whole]).unwrap();
            stream.set_nonblocking(true).unwrap();
            length = whole;
        }
        length / self.response.len()
    }
}

/// Returns a framed request.
fn frame() -> Vec<u8> {
    let mut frame = vec![0; 2 * SMALL];
    let length = wire::encode(&mut frame, 0, PROTOCOL, 1, &[7; SMALL]);
    frame.truncate(length);
    frame
}
