//! Answers that are files, which a server on tokio reads on threads of their own, in a process that can spawn no more.

use crate::support::{PATIENCE, TempEndpoint, chain, in_child_process, next, test_name};
use running_process::broker::backend_sdk::{
    AsyncFrameClient, AsyncServer, FrameClientError, HandlerError, Payload, ServeError,
};
use running_process::broker::protocol::RefusalReason;
use rustix::process::{Resource, Rlimit, Uid, geteuid, getrlimit, setrlimit};
use rustix::thread::set_thread_res_uid;
use std::fs::File;
use std::sync::mpsc;
use tokio::time::timeout;

const FETCH: u32 = 0xF00D;

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
