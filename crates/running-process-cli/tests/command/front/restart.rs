//! Clients that ask while a front is restarted: it is stopped with the daemon behind it, and both are started again.

use super::{CACHE, Front, PROGRAM};
use crate::common::WATCHDOG;
use crate::common::service::{await_that, pid};
use running_process::ReconnectingClient;
use running_process::broker::backend_sdk::{ReconnectConfig, ReconnectError};
use running_process::broker::service::{Deadline, Service};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

/// Clients of a service, and how far they have come.
struct Clients {
    service: Service,
    /// The process that `ensure` has found last.
    found: AtomicU32,
    /// The requests that the daemon behind the front has answered.
    answered: AtomicU32,
    /// The front that serves after the last restart.
    last: AtomicU32,
}

impl Clients {
    /// Ensures the service until the last front is found.
    fn ensure(&self) {
        let began = Instant::now();
        loop {
            let found = self.service.ensure(Deadline::after(WATCHDOG)).unwrap().daemon_process.pid;
            self.found.store(found, Ordering::Relaxed);
            if found == self.last.load(Ordering::Relaxed) {
                return;
            }
            assert!(began.elapsed() < WATCHDOG, "process {found} is not the last front");
        }
    }

    /// Sends requests until one has been answered after the last restart.
    async fn ask(&self) {
        let client = ReconnectingClient::for_service(self.service.clone(), ReconnectConfig::default());
        let began = Instant::now();
        loop {
            let is_last = self.last.load(Ordering::Relaxed) != 0;
            match client.request(CACHE, b"PING".to_vec()).await {
                Ok(reply) => {
                    assert_eq!(reply.payload, b"+PONG\r\n");
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if is_last {
                        return;
                    }
                }
                // A request that was on its way when its connection ended.
                Err(ReconnectError::Request(_)) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(began.elapsed() < WATCHDOG, "no answer after the last restart");
        }
    }
}

#[test]
fn clients_of_a_front_that_is_restarted_are_served_by_the_next_one() {
    let front = Front::of_cache();
    let service = Service::new("fronted").unwrap().below(front.services.root());
    let service = service.command(PROGRAM, ["front", "--service", &front.file]);
    let [found, answered, last] = [0; 3].map(AtomicU32::new);
    let clients = Clients { service, found, answered, last };
    thread::scope(|scope| {
        let ensuring = scope.spawn(|| clients.ensure());
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.unwrap().block_on(clients.ask());
        });
        let mut serving = front.pid;
        for _ in 0..3 {
            let answered = clients.answered.load(Ordering::Relaxed);
            await_that("client of this front", || {
                clients.found.load(Ordering::Relaxed) == serving
                    && clients.answered.load(Ordering::Relaxed) > answered
            });
            let restarted = front.services.json_lines(0, &["restart", "--file", &front.file]);
            let restarted = restarted.last().unwrap();
            assert_eq!(
                (&restarted["by"], &restarted["former_pid"]),
                (&"stop_then_start".into(), &serving.into())
            );
            serving = pid(restarted);
        }
        clients.last.store(serving, Ordering::Relaxed);
        ensuring.join().unwrap();
        asking.join().unwrap();
    });
}
