//! Answers and events that are files, which a server on tokio reads on threads of their own.

use crate::support::{PATIENCE, TempEndpoint, chain, in_child_process, next, test_name};
use running_process::broker::backend_sdk::{
    AsyncFrameClient, AsyncServer, FrameClientError, HandlerError, Payload, ServeError, ServerConfig,
};
use running_process::broker::protocol::RefusalReason;
use rustix::process::{Resource, Rlimit, Uid, geteuid, getrlimit, setrlimit};
use rustix::thread::set_thread_res_uid;
use std::fs::File;
use std::future::poll_fn;
use std::sync::mpsc;
use std::task::Poll;
use tokio::time::timeout;

const FETCH: u32 = 0xF00D;

#[tokio::test]
async fn events_that_are_given_up_while_their_files_are_read_cost_no_memory() {
    const EVENTS: usize = 100;
    let temp = TempEndpoint::new();
    let artifact = temp.directory.path().join("artifact");
    std::fs::write(&artifact, vec![7; 256 * 1024]).unwrap();
    // Less than all of them need together.
    let config = ServerConfig::default().max_connections(1).memory_limit(16 * 1024 * 1024);
    let server = AsyncServer::bind(temp.endpoint.clone()).unwrap().config(config);
    let server = server.serve(FETCH, move |request| {
        let artifact = artifact.clone();
        async move {
            let event = || Ok::<_, HandlerError>(Payload::from_file(File::open(&artifact)?)?);
            for _ in 0..EVENTS {
                // There is room for another one then.
                request.send_event("").await?;
                let mut given_up = Box::pin(request.send_event_payload(event()?));
                let _begun = poll_fn(|context| Poll::Ready(given_up.as_mut().poll(context))).await;
                drop(given_up);
                // Takes about as long as the one that goes on.
                request.send_event_payload(event()?).await?;
            }
            Ok::<_, HandlerError>("done")
        }
    });
    let running = server.start().unwrap();
    let (stop, waiting) = (running.stop_handle(), tokio::spawn(running.wait()));
    let client = AsyncFrameClient::connect(&temp.endpoint).await.unwrap();
    assert_eq!(timeout(PATIENCE, client.request(FETCH, b"")).await.unwrap().unwrap().payload, b"done");
    stop.stop();
    timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
}

#[test]
fn an_answer_that_no_thread_can_read_is_refused_as_one_that_failed() {
    in_child_process(test_name!("in_a_process_of_its_own"), |_| {});
}

#[tokio::test]
#[ignore = "limits its whole process: run by another test"]
async fn in_a_process_of_its_own() {
    // The limit does not hold for root. Threads that this thread spawns have its user.
    if geteuid().is_root() {
        let nobody = Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
    }
    let temp = TempEndpoint::new();
    let artifact = temp.directory.path().join("artifact");
    std::fs::write(&artifact, b"content").unwrap();
    let ((ready, is_ready), (report, errors)) = (mpsc::channel(), mpsc::channel());
    let server = AsyncServer::bind(temp.endpoint.clone())
        .unwrap()
        .serve(FETCH, move |_| {
            let artifact = artifact.clone();
            async move { Ok::<_, HandlerError>(Payload::from_file(File::open(artifact)?)?) }
        })
        .on_ready(move |_| ready.send(()).unwrap())
        .observe(move |error: &ServeError| report.send(chain(error)).unwrap());
    let running = server.start().unwrap();
    next(&is_ready);
    let (stop, waiting) = (running.stop_handle(), tokio::spawn(running.wait()));
    let client = AsyncFrameClient::connect(&temp.endpoint).await.unwrap();
    let fetch = || async { timeout(PATIENCE, client.request(FETCH, b"")).await.unwrap() };
    assert_eq!(fetch().await.unwrap().payload, b"content");

    let unlimited = getrlimit(Resource::Nproc);
    setrlimit(Resource::Nproc, Rlimit { current: Some(0), maximum: unlimited.maximum }).unwrap();
    let error = fetch().await.unwrap_err();
    setrlimit(Resource::Nproc, unlimited).unwrap();
    let FrameClientError::Refused(refusal) = error else { panic!("{error:?}") };
    // The handler has run.
    assert_eq!(refusal.reason(), RefusalReason::HandlerFailed);
    assert_eq!(refusal.message, "the daemon can make no thread that reads the file of the answer");
    assert!(next(&errors).starts_with("no thread could be made"));
    assert_eq!(fetch().await.unwrap().payload, b"content");
    stop.stop();
    timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
}
