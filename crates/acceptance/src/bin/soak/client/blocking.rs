//! Clients on threads: one that keeps its connection, one that proves the daemon each time, and one that only proves it.

use super::clients::{Asked, Clients, Place, Plan};
use super::failure::Failure;
use crate::journal::now;
use crate::random::Random;
use crate::work::{Mode, QUICK, WORK, Work};
use running_process::FrameClient;
use running_process::broker::backend_sdk::{Payload, RequestId, RequestOptions};
use running_process::broker::service::{Deadline, ServiceState};
use std::io::Write;

/// Most descriptors that a client takes with one answer.
const DESCRIPTORS: usize = 4;

/// Returns the payload of a request, with its pipe if it has one.
pub(super) fn payload(work: Work) -> Result<Payload, Failure> {
    let payload = Payload::from(work.payload());
    if work.mode != Mode::Pipe {
        return Ok(payload);
    }
    let (reader, mut writer) = std::io::pipe()?;
    writer.write_all(&work.in_pipe())?;
    Ok(payload.with_descriptors([reader.into()]))
}

pub(super) fn options(asked: &Asked) -> RequestOptions {
    let options = RequestOptions::new();
    let options =
        if asked.work.mode == Mode::File { options.with_max_descriptors(DESCRIPTORS) } else { options };
    match asked.plan {
        Plan::Deadline(timeout) => options.with_timeout(timeout),
        _ => options,
    }
}

/// Keeps its connection until its daemon has told it to move, with up to 64 requests in flight.
pub(super) fn keep(clients: &Clients, place: Place) {
    let lane = format!("{}/keep", place.name());
    let mut connected: Option<(FrameClient, u32)> = None;
    clients.paced(&lane, 0.25, |random| {
        if connected.as_mut().is_some_and(|(client, _)| client.has_moved()) {
            connected = None;
        }
        let began = now();
        let (client, pid) = match &mut connected {
            Some(connected) => connected,
            none => match clients.handle(place) {
                Ok(handle) => {
                    let pid = handle.daemon_process.pid;
                    let mut client = handle.into_client();
                    client.set_timeout(Some(clients.patience));
                    none.insert((client, pid))
                }
                Err(failure) => {
                    clients.failed(&lane, 0, began, 0, &failure);
                    return 1;
                }
            },
        };
        let made = burst(clients, &lane, client, *pid, random);
        if !client.is_usable() {
            connected = None;
        }
        made
    });
}

/// Sends several requests, and waits for their answers in another order.
fn burst(clients: &Clients, lane: &str, client: &mut FrameClient, pid: u32, random: &mut Random) -> usize {
    let made = Clients::burst(random);
    let mut sent = Vec::with_capacity(made);
    for _ in 0..made {
        let mut asked = clients.ask(lane, random, made, usize::MAX);
        Clients::vary(&mut asked, random);
        match send(client, &asked) {
            Ok(request) => sent.push((request, asked)),
            Err(failure) => clients.ended(lane, &asked, pid, &Err(failure)),
        }
    }
    while !sent.is_empty() {
        let (request, asked) = sent.swap_remove(random.index(sent.len()));
        if matches!(asked.plan, Plan::Cancel(_)) {
            client.cancel(request);
            clients.cancelled(&asked);
            continue;
        }
        clients.ended(lane, &asked, pid, &wait(client, request));
    }
    made
}

fn send(client: &mut FrameClient, asked: &Asked) -> Result<RequestId, Failure> {
    let payload = payload(asked.work)?;
    let is_plain = asked.plan == Plan::Answer && asked.work.mode == Mode::Bytes;
    let protocol = if asked.work.time.is_zero() && is_plain { QUICK } else { WORK };
    let sent = if is_plain {
        client.queue(protocol, payload)
    } else {
        client.send_with(protocol, payload, &options(asked))
    };
    Ok(sent?)
}

fn wait(client: &mut FrameClient, request: RequestId) -> Result<Vec<u8>, Failure> {
    let reply = client.wait_reply(request)?;
    Ok(reply.into_bytes()?)
}

/// Proves the daemon for each request.
pub(super) fn fresh(clients: &Clients, place: Place) {
    let lane = format!("{}/fresh", place.name());
    clients.paced(&lane, 0.06, |random| {
        let asked = clients.ask(&lane, random, 1, usize::MAX);
        let mut pid = 0;
        let mut exchange = || -> Result<Vec<u8>, Failure> {
            let handle = clients.handle(place)?;
            pid = handle.daemon_process.pid;
            let mut client = handle.into_client();
            client.set_timeout(Some(clients.patience));
            Ok(client.request(WORK, payload(asked.work)?).map_err(Failure::from)?.payload)
        };
        let outcome = exchange();
        clients.ended(&lane, &asked, pid, &outcome);
        1
    });
}

/// Proves the daemon, or finds it, and asks for nothing.
pub(super) fn probe(clients: &Clients, place: Place) {
    let lane = format!("{}/probe", place.name());
    clients.paced(&lane, 0.04, |random| {
        let asked = clients.ask(&lane, random, 1, 0);
        let number = asked.work.number;
        match found(clients, place) {
            Ok(pid) => clients.journal.write(format_args!("ok {number} {pid} {lane}")),
            Err(failure) => clients.failed(&lane, number, asked.began, 0, &failure),
        }
        1
    });
}

fn found(clients: &Clients, place: Place) -> Result<u32, Failure> {
    if place != Place::Service {
        return Ok(clients.handle(place)?.daemon_process.pid);
    }
    match clients.service.find(Deadline::after(clients.patience))? {
        ServiceState::Live(handle) => Ok(handle.daemon_process.pid),
        state => Err(Failure::of(format!("the service is {}", state.name()))),
    }
}
