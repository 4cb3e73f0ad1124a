//! The client process: clients of every kind, each of which records what became of its requests.

mod asynchronous;
mod blocking;
mod clients;
mod failure;
mod raw;

use crate::daemon::service;
use crate::journal::Journal;
use clients::{Clients, Place};
use running_process::broker::service::Deadline;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

/// Runs `DIRECTORY SEED RATE PATIENCE MANNER` until the standard input ends.
pub(crate) fn run(arguments: &[String]) {
    let [directory, seed, rate, patience, manner] = arguments else { panic!("usage: client DIRECTORY ...") };
    let directory = PathBuf::from(directory);
    let service = service(&directory, manner);
    let patience = Duration::from_secs(patience.parse().unwrap());
    let daemon = service.ensure(Deadline::after(patience)).unwrap();
    let clients = Arc::new(Clients {
        journal: Journal::open(&directory.join("journal")),
        socket: daemon.daemon_process.ipc_endpoint.path.clone(),
        service,
        directory,
        seed: seed.parse().unwrap(),
        rate: rate.parse::<f64>().unwrap() / 3.0,
        patience,
        numbers: AtomicU64::new(1),
        done: Default::default(),
        done_on_tokio: watch::Sender::new(false),
    });
    drop(daemon);
    let mut threads = Vec::new();
    for place in Place::ALL {
        let lanes = [blocking::keep, blocking::fresh, blocking::probe, raw::framed, raw::legacy];
        threads.extend(lanes.map(|lane| {
            let clients = Arc::clone(&clients);
            thread::spawn(move || lane(&clients, place))
        }));
    }
    let on_tokio = Arc::clone(&clients);
    threads.push(thread::spawn(move || asynchronous::run(&on_tokio)));
    // Waits for the end of the input, and takes an error for it.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    *clients.done.0.lock().unwrap() = true;
    clients.done.1.notify_all();
    clients.done_on_tokio.send_replace(true);
    for thread in threads {
        thread.join().unwrap();
    }
    clients.journal.write(format_args!("finished 0"));
}
