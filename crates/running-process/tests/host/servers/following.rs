//! Asynchronous clients that follow from one server to the next under load: every request is answered once, by one of both.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{TempEndpoint, join, next, watched};
use running_process::broker::backend_sdk::{AsyncFrameClient, ReconnectConfig, ReconnectingClient, ServerStop};
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Served by a handler that notes the number in the request, and answers with it.
const NUMBER: u32 = 0xF010;
const TASKS: u64 = 8;
const REQUESTS: u64 = 400;
/// The number of answers after which the first server is handed over.
const ENOUGH: usize = 500;

/// The numbers that each server has handled, in order.
type Ledger = Arc<Mutex<Vec<u64>>>;

/// Adds the handler of [`NUMBER`], which tells `reached` once it has handled [`ENOUGH`] requests.
fn counting<D: Daemon>(server: D, ledger: &Ledger, reached: Option<Sender<()>>) -> D {
    let ledger = Arc::clone(ledger);
    server.serve_quickly(NUMBER, move |request| {
        let mut numbers = ledger.lock().unwrap();
        numbers.push(u64::from_le_bytes(request.payload().try_into()?));
        if numbers.len() == ENOUGH
            && let Some(reached) = &reached
        {
            reached.send(())?;
        }
        Ok(request.payload().to_vec())
    })
}

/// A server that serves beside the first one, until this is dropped.
struct Successor {
    stop: ServerStop,
    thread: Option<JoinHandle<()>>,
    ledger: Ledger,
    temp: TempEndpoint,
}

impl Successor {
    fn start() -> Self {
        let (temp, ledger) = (TempEndpoint::new(), Ledger::default());
        let (ready, is_ready) = mpsc::channel();
        let server = TestServer::bind(temp.endpoint.clone()).unwrap().identity_file(temp.identity_file());
        let server = counting(server, &ledger, None).on_ready(move |_| ready.send(()).unwrap());
        let stop = server.stop_handle();
        let thread = Some(std::thread::spawn(move || server.run().unwrap()));
        next(&is_ready);
        Self { stop, thread, ledger, temp }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.stop.stop();
        if !std::thread::panicking() {
            join(self.thread.take().unwrap());
        }
    }
}

/// Sends numbered requests by [`TASKS`] tasks while the first server is handed over. `take_over` makes the successor's files those
/// of the first one; `ask` sends one request.
fn follow<C, A, F>(connect: impl AsyncFnOnce(&TestServer) -> C + Send + 'static, take_over: fn(&Path, &Path), file: fn(&TempEndpoint) -> std::path::PathBuf, ask: A)
where
    C: Clone + Send + 'static,
    A: Fn(C, Vec<u8>) -> F + Clone + Send + 'static,
    F: Future<Output = Vec<u8>> + Send + 'static,
{
    let ledger = Ledger::default();
    let (reached, is_reached) = mpsc::channel();
    let mut server = TestServer::start(|server| counting(server, &ledger, Some(reached)));
    let successor = Successor::start();
    let (stop, from, to) = (server.stop.clone(), file(&successor.temp), file(&server.temp));
    let handing_over = std::thread::spawn(move || {
        next(&is_reached);
        take_over(&from, &to);
        stop.hand_over();
    });
    let server = watched(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect(&server).await;
            let mut tasks = JoinSet::new();
            for task in 0..TASKS {
                let (client, ask) = (client.clone(), ask.clone());
                tasks.spawn(async move {
                    for number in task * REQUESTS..(task + 1) * REQUESTS {
                        let payload = number.to_le_bytes().to_vec();
                        assert_eq!(ask(client.clone(), payload.clone()).await, payload);
                    }
                });
            }
            tasks.join_all().await;
        });
        // The former connection ends although the client is there.
        server.join().unwrap();
        server
    });
    join(handing_over);
    drop(server);
    let (former, later) = (ledger.lock().unwrap().len(), successor.ledger.lock().unwrap().len());
    assert!(former >= ENOUGH && later > 0, "{former} and {later} requests");
    let mut all = [&ledger.lock().unwrap()[..], &successor.ledger.lock().unwrap()[..]].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..TASKS * REQUESTS), "every request is handled once");
}

#[test]
fn a_client_that_has_connected_follows_to_the_next_server_at_its_path() {
    follow(
        async |server| AsyncFrameClient::connect(&server.temp.endpoint).await.unwrap(),
        |from, to| std::fs::rename(from, to).unwrap(),
        |temp| temp.endpoint.path.clone().into(),
        |client, payload| async move { client.request(NUMBER, payload).await.unwrap().payload },
    );
}

#[test]
fn a_reconnecting_client_follows_to_the_server_that_the_identity_file_names() {
    follow(
        async |server| ReconnectingClient::new(server.temp.identity_file(), ReconnectConfig::default()),
        |from, to| std::fs::rename(from, to).unwrap(),
        TempEndpoint::identity_file,
        |client, payload| async move { client.request(NUMBER, payload).await.unwrap().payload },
    );
}
