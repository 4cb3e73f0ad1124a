//! The daemon of the tests of replacements: it records each request that has a number, and serves the legacy wire as well.

use crate::database::Database;
use crate::fault;
use crate::start::{Start, answer, record, refused, service};
use running_process::broker::backend_sdk::{AsyncServer, Server, ServerConfig};
use running_process_acceptance::wire::{LEDGER, SHOUT, Work};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The words of a start, with `+` between them.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a word")]
struct Words {
    /// It serves on tokio.
    tokio: bool,
    /// It holds the database while it serves.
    database: bool,
    /// It releases the database for its successor.
    hooks: bool,
    /// Its hook fails.
    refuses: bool,
    /// It serves once this file exists, and has its place by then.
    placed: Option<PathBuf>,
    /// It releases the database once this file exists.
    release: Option<PathBuf>,
    /// The time that connections have to end.
    drain: Option<Duration>,
}

impl Words {
    fn parse(words: &str) -> Self {
        let mut parsed = Self::default();
        for word in words.split('+') {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "serve" => {}
                "tokio" => parsed.tokio = true,
                "database" => parsed.database = true,
                "hooks" => (parsed.database, parsed.hooks) = (true, true),
                "refuses" => parsed.refuses = true,
                "placed" => parsed.placed = Some(value.into()),
                "release" => parsed.release = Some(value.into()),
                "drain" => parsed.drain = Some(Duration::from_millis(value.parse().unwrap())),
                _ => panic!("{word}"),
            }
        }
        parsed
    }

    fn config(&self) -> ServerConfig {
        let config = ServerConfig::default();
        if let Some(drain) = self.drain { config.drain_timeout(drain) } else { config }
    }
}

/// Sets the hooks and the calls that servers of every driver have.
macro_rules! configured {
    ($server:expr, $start:expr, $words:expr, $database:expr) => {{
        let events = $start.events.clone();
        let mut server = $server.config($words.config()).on_ready(move |_| record(&events, "ready"));
        if $words.hooks {
            let (events, release, refuses) = ($start.events.clone(), $words.release.clone(), $words.refuses);
            let database = Arc::clone(&$database);
            server =
                server.on_release(move || release_database(&database, &events, release.as_deref(), refuses));
            let (events, database) = ($start.events.clone(), Arc::clone(&$database));
            server = server.on_resume(move || {
                database.open();
                record(&events, "resume");
            });
        }
        server
    }};
}

fn release_database(
    database: &Database,
    events: &Path,
    release: Option<&Path>,
    refuses: bool,
) -> std::io::Result<()> {
    record(events, "releasing");
    if let Some(release) = release {
        fault::wait_for(release);
    }
    if refuses {
        return Err(std::io::Error::other("the database is busy"));
    }
    database.close();
    record(events, "release");
    Ok(())
}

/// Serves as `words` say, until the server is stopped or has been replaced.
pub(crate) fn serve(start: &Start, words: &str) {
    let words = Words::parse(words);
    let database = Arc::new(Database::new(start));
    if words.tokio {
        serve_on_tokio(start, &words, &database);
    } else {
        serve_on_threads(start, &words, &database);
    }
    record(&start.events, "end");
}

/// Takes what a daemon holds, once it has its place.
fn placed(start: &Start, words: &Words, database: &Database) {
    if words.database {
        database.open();
    }
    record(&start.events, "placed");
    if let Some(file) = &words.placed {
        fault::wait_for(file);
    }
}

fn serve_on_threads(start: &Start, words: &Words, database: &Arc<Database>) {
    let server = match Server::for_service(&service()) {
        Ok(server) => server,
        Err(error) => refused(start, &error),
    };
    placed(start, words, database);
    let ledger = Ledger::of(start);
    let server = resp_cache::attach(server, &resp_cache::Cache::new())
        .serve(SHOUT, |request| Ok(answer(request.payload())))
        .serve(LEDGER, move |request| {
            let work = Work::parse(request.payload());
            ledger.record(work.number);
            thread::sleep(work.time);
            Ok(std::process::id().to_string())
        });
    configured!(server, start, words, database).run().unwrap();
}

fn serve_on_tokio(start: &Start, words: &Words, database: &Arc<Database>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = match AsyncServer::for_service(&service()) {
            Ok(server) => server,
            Err(error) => refused(start, &error),
        };
        placed(start, words, database);
        let ledger = Arc::new(Ledger::of(start));
        let server = server.serve(SHOUT, |request| async move { Ok(answer(request.payload())) }).serve(
            LEDGER,
            move |request| {
                let ledger = Arc::clone(&ledger);
                async move {
                    let work = Work::parse(request.payload());
                    ledger.record(work.number);
                    tokio::time::sleep(work.time).await;
                    Ok(std::process::id().to_string())
                }
            },
        );
        configured!(server, start, words, database).run().await.unwrap();
    });
}

/// The file in which all daemons of a test record the requests that they run.
struct Ledger(File);

impl Ledger {
    fn of(start: &Start) -> Self {
        let path = start.events.with_file_name("ledger");
        Self(OpenOptions::new().append(true).create(true).open(path).unwrap())
    }

    /// Records that this process runs the request `number`. One write appends a whole line.
    fn record(&self, number: u64) {
        let line = format!("{number} {}\n", std::process::id());
        assert_eq!((&self.0).write(line.as_bytes()).unwrap(), line.len());
    }
}
