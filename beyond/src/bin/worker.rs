//! A worker, on any machine: waits for as many milliseconds as a request says, and answers with its name.
//!
//! ```sh
//! cargo run --bin worker -- nats://127.0.0.1:4222 NAME MOST
//! ```

use beyond::{Subjects, Worker};
use std::error::Error;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [nats, name, most] = &arguments[..] else {
        return Err("usage: worker NATS_URL NAME MOST, the most requests at once".into());
    };
    let worker = Worker::new(async_nats::connect(nats).await?, Subjects::of("work"), most.parse()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async { _ = terminate.recv().await };
    let name = name.clone();
    worker.run(move |request| work(name.clone(), request), || println!("ready"), stop).await
}

/// Serves a request `MILLISECONDS TEXT`.
async fn work(name: String, request: Vec<u8>) -> Result<Vec<u8>, String> {
    let request = String::from_utf8(request).map_err(|_| "the request is not UTF-8")?;
    let (milliseconds, text) = request.split_once(' ').ok_or("a request is MILLISECONDS TEXT")?;
    let milliseconds = milliseconds.parse().map_err(|_| format!("{milliseconds:?} is no number"))?;
    println!("began {text}");
    let mut ended = Ended { text, how: "dropped" };
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    ended.how = "answered";
    Ok(format!("{name} {text}").into_bytes())
}

/// Prints how a request ended.
struct Ended<'a> {
    text: &'a str,
    how: &'static str,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        println!("{} {}", self.how, self.text);
    }
}
