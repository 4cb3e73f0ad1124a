//! The server on tokio alone: futures that are dropped, and a clock that can be stopped.

use crate::support::{
    PATIENCE, REVERSE, SHOUT, TempEndpoint, next, read, read_frames, refusal, request, write,
};
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_sdk::{
    AsyncFrameClient, AsyncLegacyConnection, AsyncServer, FrameClientError, LegacyClassification,
    LocalListener, LocalStream, ServerConfig, ServerError, ServerStop, read_daemon_identity_file,
    write_daemon_identity_file,
};
use running_process::broker::protocol::{Frame, encode_framed};
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Says when it is dropped, by the runtime's clock.
struct Dropped(mpsc::UnboundedSender<Instant>);

impl Drop for Dropped {
    fn drop(&mut self) {
        // A test that has seen enough is gone.
        let _ = self.0.send(now());
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Never answers.
const NEVER: u32 = 0xF00F;

/// A server in the runtime of the test.
struct Served {
    temp: TempEndpoint,
    stop: ServerStop,
    /// Of each future of [`NEVER`], its request's deadline once it has begun.
    begun: mpsc::UnboundedReceiver<Option<Instant>>,
    /// When it was dropped.
    dropped: mpsc::UnboundedReceiver<Instant>,
    run: JoinHandle<Result<(), ServerError>>,
}

impl Served {
    /// It runs when this returns. A stopped clock goes on as soon as all tasks wait, whatever is still on its way through
    /// the system, so no message has a deadline.
    async fn start(configure: impl FnOnce(AsyncServer) -> AsyncServer) -> Self {
        let temp = TempEndpoint::new();
        let mut config = ServerConfig::default();
        config.connection.first_message_timeout = Duration::MAX;
        config.connection.message_timeout = Duration::MAX;
        let (entered, begun) = mpsc::unbounded_channel();
        let (drops, dropped) = mpsc::unbounded_channel();
        let ready = Arc::new(Notify::new());
        let is_ready = Arc::clone(&ready);
        let server = AsyncServer::bind(temp.endpoint.clone())
            .unwrap()
            .config(config)
            .on_ready(move |_| ready.notify_one())
            .serve(SHOUT, |request| async move { Ok(request.payload().to_ascii_uppercase()) })
            .serve(NEVER, move |request| {
                let dropped = Dropped(drops.clone());
                entered.send(request.deadline()).unwrap();
                async move {
                    let _dropped = dropped;
                    pending::<Result<Vec<u8>, _>>().await
                }
            });
        let server = configure(server);
        let stop = server.stop_handle();
        let run = tokio::spawn(server.run());
        is_ready.notified().await;
        Self { temp, stop, begun, dropped, run }
    }

    fn connect(&self) -> LocalStream {
        LocalStream::connect(&self.temp.endpoint.path).unwrap()
    }

    async fn client(&self) -> AsyncFrameClient {
        AsyncFrameClient::connect(&self.temp.endpoint).await.unwrap()
    }
}

/// A request for [`NEVER`] whose client waits for so long.
fn never_within(left: Duration) -> Vec<u8> {
    let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + left;
    let deadline_unix_ms = u64::try_from(deadline.as_millis()).unwrap();
    encode_framed(&Frame { deadline_unix_ms, ..Frame::request(NEVER, Vec::new()) }).unwrap()
}

/// Answers with the task that served it to its end.
const WHERE: u32 = 0xF010;

/// In which tasks two requests were served that came together.
async fn tasks_of_two<F>(serve: impl Fn() -> F + Send + Sync + 'static) -> [Vec<u8>; 2]
where
    F: Future<Output = ()> + Send + 'static,
{
    let answer = move |serving: F| async move {
        serving.await;
        Ok(tokio::task::id().to_string().into_bytes())
    };
    let served = Served::start(|server| server.serve(WHERE, move |_| answer(serve()))).await;
    let client = served.client().await;
    let two = async { tokio::join!(client.request(WHERE, Vec::new()), client.request(WHERE, Vec::new())) };
    let (first, second) = timeout(PATIENCE, two).await.unwrap();
    [first.unwrap().payload, second.unwrap().payload]
}

#[tokio::test]
async fn in_a_runtime_of_one_thread_only_a_handler_that_waits_has_a_task_of_its_own() {
    // A thread that the system interrupts in a handler makes that handler slow, so one pair does not decide.
    let mut shared_a_task = false;
    for _ in 0..50 {
        let [first, second] = tasks_of_two(async || ()).await;
        shared_a_task = first == second;
        if shared_a_task {
            break;
        }
    }
    assert!(shared_a_task, "handlers that did not wait never shared a task");
    let [first, second] = tasks_of_two(tokio::task::yield_now).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn behind_a_handler_that_takes_its_time_the_others_have_tasks_of_their_own() {
    let [first, second] = tasks_of_two(async || {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    })
    .await;
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn in_a_runtime_of_many_threads_every_request_has_a_task_of_its_own() {
    let [first, second] = tasks_of_two(async || ()).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_client_that_goes_has_its_future_dropped() {
    let mut served = Served::start(|server| server).await;
    let client = served.client().await;
    let asking = tokio::spawn(async move { client.request(NEVER, Vec::new()).await });
    served.begun.recv().await.unwrap();
    asking.abort();
    timeout(PATIENCE, served.dropped.recv()).await.unwrap().unwrap();
    assert_eq!(served.client().await.request(SHOUT, b"on".to_vec()).await.unwrap().payload, b"ON");
}

#[tokio::test]
async fn a_request_that_is_given_up_has_its_future_dropped_and_no_other() {
    let mut served = Served::start(|server| server).await;
    let client = served.client().await;
    let kept = client.request(NEVER, Vec::new());
    let mut kept = std::pin::pin!(kept);
    let given_up = client.request(NEVER, Vec::new());
    timeout(PATIENCE, async {
        tokio::select! {
            biased;
            _ = &mut kept => panic!("it is never answered"),
            _ = given_up => panic!("it is never answered"),
            () = async { served.begun.recv().await.unwrap(); served.begun.recv().await.unwrap(); } => {}
        }
        tokio::select! {
            biased;
            _ = &mut kept => panic!("it is never answered"),
            dropped = served.dropped.recv() => dropped.unwrap(),
        }
    })
    .await
    .unwrap();
    assert_eq!(client.request(SHOUT, b"on".to_vec()).await.unwrap().payload, b"ON");
    assert!(served.dropped.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_drops_the_future_within_ten_milliseconds() {
    let mut served = Served::start(|server| server).await;
    // A client that neither reads nor gives up: only the server's own timer can end it.
    let connection = served.connect();
    write(&connection, &never_within(Duration::from_mins(1)));
    let deadline = served.begun.recv().await.unwrap().expect("the deadline reaches the handler");
    let dropped = served.dropped.recv().await.unwrap();
    assert!(
        dropped >= deadline && dropped - deadline <= Duration::from_millis(10),
        "{:?}",
        dropped - deadline
    );
    assert_eq!(refusal(&read_frames(&connection, 1)[0]), "the deadline has passed");
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_a_client_that_does_not_read_and_all_arrive_in_order() {
    const EVENTS: usize = 200;
    const STREAM: u32 = 0xF010;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let served = Served::start(|server| {
        server.serve(STREAM, move |request| {
            let count = Arc::clone(&count);
            async move {
                for number in 0..EVENTS {
                    request.send_event(vec![u8::try_from(number)?; 64 * 1024]).await?;
                    count.fetch_add(1, Ordering::SeqCst);
                }
                Ok(b"the end".to_vec())
            }
        })
    })
    .await;
    let connection = served.connect();
    write(&connection, &request(STREAM, 7, b""));
    // A stopped clock goes on when no task can: until the request has come, and ten times more, since the sockets are not
    // asked each time.
    let began = Instant::now();
    while sent.load(Ordering::SeqCst) == 0 {
        assert!(began.elapsed() < PATIENCE, "no event was sent");
        sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..10 {
        sleep(Duration::from_millis(1)).await;
    }
    let before = sent.load(Ordering::SeqCst);
    assert!(before > 0 && before < EVENTS, "12 MiB are in no buffer, and {before} events were sent");
    let reading = tokio::task::spawn_blocking(move || read_frames(&connection, EVENTS + 1));
    let frames = reading.await.unwrap();
    assert!(
        frames[..EVENTS].iter().enumerate().all(|(number, event)| usize::from(event.payload[0]) == number)
    );
    assert_eq!(frames[EVENTS].payload, b"the end");
}

#[tokio::test(start_paused = true)]
async fn a_day_of_traffic_on_a_stopped_clock_leaves_nothing_behind() {
    // The clock of timers and of everything that a connection waits for; that of deadlines on the wire is the system's.
    let mut served = Served::start(|server| server).await;
    let client = served.client().await;
    let other = served.connect();
    let start = now();
    for minute in 0..24 * 60 {
        let payload = format!("minute {minute}").into_bytes();
        let response = client.request(SHOUT, payload.clone()).await.unwrap();
        assert_eq!(response.payload, payload.to_ascii_uppercase());
        if minute % 10 == 0 {
            write(&other, &never_within(Duration::from_secs(5)));
            served.dropped.recv().await.unwrap();
            let reading = other.try_clone().unwrap();
            let refused = tokio::task::spawn_blocking(move || refusal(&read_frames(&reading, 1)[0]));
            assert_eq!(refused.await.unwrap(), "the deadline has passed");
        }
        sleep(Duration::from_mins(1)).await;
    }
    assert!(now() - start >= Duration::from_hours(24));
    served.stop.stop();
    served.run.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_are_answered_at_once() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    let served = Served::start(|server| server).await;
    let mut clients = Vec::new();
    while clients.len() < 1000 {
        match AsyncFrameClient::connect(&served.temp.endpoint).await {
            Ok(client) => clients.push(client),
            // Where the backlog is short, as on Windows.
            Err(FrameClientError::Connect(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    let mut requests = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        requests.spawn(async move {
            let payload = format!("client {number}").into_bytes();
            let deadline = Instant::now() + PATIENCE;
            let response = client.request_deadline(SHOUT, payload.clone(), deadline).await.unwrap();
            assert_eq!(response.payload, payload.to_ascii_uppercase());
            client
        });
    }
    assert_eq!(requests.join_all().await.len(), 1000);
}

#[tokio::test]
async fn a_legacy_connection_is_read_by_one_task_while_another_waits_to_write_to_it() {
    const LENGTH: usize = 8 << 20;
    let (heard, mut received) = mpsc::unbounded_channel();
    let served = Served::start(|server| {
        let handler = move |connection| {
            let heard = heard.clone();
            async move {
                let (mut reader, mut writer) = tokio::io::split(connection);
                let reading = tokio::spawn(async move {
                    let mut bytes = [0; 2];
                    reader.read_exact(&mut bytes).await.unwrap();
                    heard.send(bytes).unwrap();
                });
                // It waits for the second byte by then.
                tokio::task::yield_now().await;
                writer.write_all(&vec![7; LENGTH]).await.unwrap();
                reading.await.unwrap();
            }
        };
        server.legacy(|_| LegacyClassification::Legacy, handler)
    })
    .await;
    let connection = served.connect();
    write(&connection, b"*");
    let reading = connection.try_clone().unwrap();
    tokio::task::spawn_blocking(move || read(&reading, 1)).await.unwrap();
    write(&connection, b"!");
    assert_eq!(&timeout(PATIENCE, received.recv()).await.unwrap().unwrap(), b"*!");
    tokio::task::spawn_blocking(move || read(&connection, LENGTH - 1)).await.unwrap();
}

#[tokio::test]
async fn a_legacy_handler_that_asks_for_the_stop_reads_on_after_it_and_ends_the_connection_itself() {
    for stop in [ServerStop::stop, ServerStop::hand_over] {
        let (say, mut said) = mpsc::unbounded_channel();
        let served = Served::start(|server| {
            let handler = move |mut connection: AsyncLegacyConnection| {
                let say = say.clone();
                async move {
                    let stopping = connection.stopping();
                    let mut before = [0; 6];
                    connection.read_exact(&mut before).await.unwrap();
                    say.send(before).unwrap();
                    stopping.await;
                    say.send(*b"is end").unwrap();
                    let mut after = [0; 5];
                    connection.read_exact(&mut after).await.unwrap();
                    connection.write_all(&after.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
                }
            };
            server.legacy(|_| LegacyClassification::NotLegacy, handler)
        })
        .await;
        let connection = served.connect();
        write(&connection, b"before");
        for expected in [b"before", b"is end"] {
            assert_eq!(&timeout(PATIENCE, said.recv()).await.unwrap().unwrap(), expected);
            stop(&served.stop);
        }
        write(&connection, b"after");
        let answer = tokio::task::spawn_blocking(move || read(&connection, 5)).await.unwrap();
        assert_eq!(answer, b"AFTER");
        timeout(PATIENCE, served.run).await.unwrap().unwrap().unwrap();
    }
}

/// A handler that has asked for the stop, and does not end.
#[tokio::test]
async fn a_legacy_handler_that_reads_on_after_the_stop_does_not_outlast_the_drain() {
    let (say, mut said) = mpsc::unbounded_channel();
    let served = Served::start(|server| {
        let handler = move |mut connection: AsyncLegacyConnection| {
            let say = say.clone();
            async move {
                let _stopping = connection.stopping();
                let mut first = [0; 1];
                connection.read_exact(&mut first).await.unwrap();
                say.send(first).unwrap();
                let _dropped = connection.read_exact(&mut first).await;
            }
        };
        let config = ServerConfig::default().drain_timeout(Duration::from_millis(100));
        server.config(config).legacy(|_| LegacyClassification::NotLegacy, handler)
    })
    .await;
    let connection = served.connect();
    write(&connection, b"!");
    timeout(PATIENCE, said.recv()).await.unwrap().unwrap();
    served.stop.stop();
    let outlasted = timeout(PATIENCE, served.run).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(outlasted, ServerError::DrainTimedOut { connections: 1, .. }), "{outlasted:?}");
}

#[tokio::test]
async fn a_server_whose_future_is_dropped_ends_with_all_that_it_does() {
    let mut served = Served::start(|server| server).await;
    let client = served.client().await;
    let asking = tokio::spawn(async move { client.request(NEVER, Vec::new()).await });
    served.begun.recv().await.unwrap();
    served.run.abort();
    assert!(timeout(PATIENCE, asking).await.unwrap().unwrap().is_err());
    timeout(PATIENCE, served.dropped.recv()).await.unwrap().unwrap();
    assert!(served.run.await.unwrap_err().is_cancelled());
    drop(AsyncServer::bind(served.temp.endpoint.clone()).unwrap());
}

#[tokio::test]
async fn a_handler_answers_with_the_payload_that_came_or_one_that_it_shares() {
    let shared: Arc<[u8]> = vec![7; 100_000].into();
    let answer = Arc::clone(&shared);
    let served = Served::start(|server| {
        server
            .serve(0xF01F, |request| async move { Ok(request.into_payload()) })
            .serve(0xF010, move |_| ready(Ok(Arc::clone(&answer))))
            .serve_inline(0xF011, |_| Ok("fixed"))
    })
    .await;
    let client = served.client().await;
    let large = vec![9; 100_000];
    assert_eq!(client.request(0xF01F, large.clone()).await.unwrap().payload, large);
    assert_eq!(client.request(0xF010, Vec::new()).await.unwrap().payload, shared[..]);
    assert_eq!(client.request(0xF011, Vec::new()).await.unwrap().payload, b"fixed");
    served.stop.stop();
    served.run.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_connection_that_floods_does_not_hold_up_another() {
    let served = Served::start(|server| {
        server
            .serve_inline(REVERSE, |request| Ok(request.payload().iter().rev().copied().collect::<Vec<u8>>()))
    })
    .await;
    let flood = served.connect();
    let reading = flood.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let wire: Vec<u8> = (1..=1000).flat_map(|id| request(REVERSE, id, b"flood")).collect();
        while flood.write_all_deadline(&wire, None).is_ok() {}
    });
    let draining = std::thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while matches!(reading.read_deadline(&mut bytes, None), Ok(1..)) {}
    });
    let client = served.client().await;
    for _ in 0..20 {
        let deadline = Instant::now() + PATIENCE;
        client.request_deadline(SHOUT, b"me too".to_vec(), deadline).await.unwrap();
    }
    let endpoint = served.temp.endpoint.clone();
    let probing = tokio::task::spawn_blocking(move || probe_endpoint(&endpoint, Instant::now() + PATIENCE));
    probing.await.unwrap().unwrap();
    served.stop.stop();
    served.run.await.unwrap().unwrap();
    writing.join().unwrap();
    draining.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_was_dropped_leaves_the_identity_file_of_its_successor_alone() {
    let temp = TempEndpoint::new();
    let path = temp.identity_file();
    let (report, is_reading) = std::sync::mpsc::channel();
    let (go_on, gate) = std::sync::mpsc::channel();
    let (ready, is_ready) = std::sync::mpsc::channel::<()>();
    let server = AsyncServer::bind(temp.endpoint.clone())
        .unwrap()
        .identity_file(&path)
        .identify_with(move |endpoint, _| {
            report.send(()).unwrap();
            next(&gate);
            DaemonProcess::current_process(endpoint, None)
        })
        .on_ready(move |_| ready.send(()).unwrap());
    let run = tokio::spawn(server.run());
    tokio::task::block_in_place(|| next(&is_reading));
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    let _successor = LocalListener::bind(&temp.endpoint.path).unwrap();
    let mut identity = DaemonProcess::current_process(temp.endpoint.clone(), None).unwrap();
    identity.started_at_unix_ms += 1;
    write_daemon_identity_file(&path, &identity).unwrap();
    go_on.send(()).unwrap();
    // The registration has ended once the sender of its hook is dropped.
    let hook = tokio::task::block_in_place(|| is_ready.recv_timeout(PATIENCE));
    assert_eq!(hook, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    assert_eq!(read_daemon_identity_file(&path), Some(identity));
}
