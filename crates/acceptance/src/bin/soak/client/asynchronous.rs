//! Clients on tokio, whose tasks share a connection: one that is connected, and one that reconnects.

use super::blocking::{options, payload};
use super::clients::{Asked, Clients, Place, Plan};
use super::failure::Failure;
use crate::journal::now;
use crate::random::Random;
use crate::work::WORK;
use running_process::broker::backend_sdk::{
    AsyncFrameClient, FrameClientError, ReconnectConfig, ReconnectError,
};
use running_process::{BackendHandle, ReconnectingClient};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A client that tasks share.
#[derive(Clone)]
enum Shared {
    Connected(AsyncFrameClient),
    Reconnecting(ReconnectingClient),
}

impl Shared {
    async fn request(&self, asked: &Asked) -> Result<Vec<u8>, Failure> {
        let options = options(asked);
        let reply = match self {
            Self::Connected(client) => client.request_reply(WORK, payload(asked.work)?, &options).await?,
            Self::Reconnecting(client) => loop {
                match client.request_reply(WORK, payload(asked.work)?, &options).await {
                    // The daemon was stopped in the middle of the request, which has not run.
                    Err(ReconnectError::Request(FrameClientError::NotReceived)) => {}
                    outcome => break outcome?,
                }
            },
        };
        Ok(reply.into_bytes()?)
    }

    fn is_usable(&self) -> bool {
        match self {
            Self::Connected(client) => client.is_usable(),
            Self::Reconnecting(_) => true,
        }
    }
}

/// Runs all clients on tokio until the process is to end.
pub(super) fn run(clients: &Arc<Clients>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut lanes = JoinSet::new();
        for place in Place::ALL {
            for reconnects in [false, true] {
                lanes.spawn(lane(Arc::clone(clients), place, reconnects));
            }
        }
        while let Some(ended) = lanes.join_next().await {
            ended.unwrap();
        }
    });
}

async fn connect(clients: &Clients, place: Place, reconnects: bool) -> Result<Shared, Failure> {
    let config = ReconnectConfig::default().retry_timeout(clients.patience);
    Ok(match (place, reconnects) {
        (Place::Service, true) => {
            Shared::Reconnecting(ReconnectingClient::for_service(clients.service.clone(), config))
        }
        (_, true) => Shared::Reconnecting(ReconnectingClient::new(clients.identity_file(place), config)),
        (Place::Service, false) => {
            Shared::Connected(AsyncFrameClient::connect(&clients.endpoint(place)).await?)
        }
        (_, false) => {
            let identity = clients.identity(place)?;
            let endpoint = &identity.ipc_endpoint;
            let handle = BackendHandle::probe_with_service_async("soak", "1", endpoint, &identity).await?;
            Shared::Connected(handle.into_async_client()?)
        }
    })
}

async fn lane(clients: Arc<Clients>, place: Place, reconnects: bool) {
    let name: Arc<str> =
        format!("{}/{}", place.name(), if reconnects { "reconnecting" } else { "shared" }).into();
    let mut random = Random::new(clients.seed, &name);
    let mut done = clients.done_on_tokio.subscribe();
    let mut client: Option<Shared> = None;
    // The daemon that has answered last.
    let last = Arc::new(AtomicU32::new(0));
    while !*done.borrow_and_update() {
        let began = now();
        if client.as_ref().is_none_or(|client| !client.is_usable()) {
            match connect(&clients, place, reconnects).await {
                Ok(connected) => client = Some(connected),
                Err(failure) => clients.failed(&name, 0, began, 0, &failure),
            }
        }
        let made = match &client {
            Some(client) => burst(&clients, &name, client, &last, &mut random).await,
            None => 1,
        };
        let pause = random.about(clients.pause(made, 0.2));
        // The time is over, or the process is to end.
        let _ = timeout(pause, done.changed()).await;
    }
}

/// Makes several requests at once, each in a task of its own.
async fn burst(
    clients: &Arc<Clients>,
    lane: &Arc<str>,
    client: &Shared,
    last: &Arc<AtomicU32>,
    random: &mut Random,
) -> usize {
    let made = Clients::burst(random);
    let mut tasks = JoinSet::new();
    for _ in 0..made {
        let mut asked = clients.ask(lane, random, made, usize::MAX);
        Clients::vary(&mut asked, random);
        let (clients, lane, client, last) =
            (Arc::clone(clients), Arc::clone(lane), client.clone(), Arc::clone(last));
        tasks.spawn(async move {
            let limit = match asked.plan {
                Plan::Cancel(after) => after,
                _ => clients.patience,
            };
            let pid = last.load(Ordering::Relaxed);
            match timeout(limit, client.request(&asked)).await {
                Ok(outcome) => {
                    if let Ok(by @ 1..) = outcome.as_deref().map_or(Ok(0), |answer| asked.work.check(answer))
                    {
                        last.store(by, Ordering::Relaxed);
                    }
                    clients.ended(&lane, &asked, pid, &outcome);
                }
                Err(_) if matches!(asked.plan, Plan::Cancel(_)) => clients.cancelled(&asked),
                Err(_) => {
                    let failure = Failure::of(format!("no answer in {limit:?}"));
                    clients.failed(&lane, asked.work.number, asked.began, 0, &failure);
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    made
}
