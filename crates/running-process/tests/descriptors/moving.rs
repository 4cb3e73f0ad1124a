//! Requests with descriptors while their daemon is handed over to its successor: each is served once, by one of both.

use super::daemon::{Daemon, Driver, OnOneThread, OnThreads, SERVED, identity_file};
use super::{PATIENCE, alone, assert_open, file, open_descriptors};
use running_process::broker::backend_sdk::{Payload, ReconnectConfig, RequestOptions};
use running_process::{AsyncFrameClient, ReconnectingClient, Server};
use std::fs::{File, rename};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Builder;

const TASKS: usize = 4;
const REQUESTS: usize = 50;
/// The number of answers after which the first daemon is handed over.
const ENOUGH: usize = 80;

/// A client that follows from a daemon to its successor.
trait Follower: Clone {
    async fn connect(daemon: &Daemon) -> Self;

    /// Sends a request, and returns the payload of the answer.
    async fn ask(&self, payload: Payload, options: &RequestOptions) -> Vec<u8>;

    /// Makes the successor the daemon that clients find.
    fn replace(former: &Daemon, successor: &Daemon);
}

impl Follower for AsyncFrameClient {
    async fn connect(daemon: &Daemon) -> Self {
        Self::connect(&daemon.endpoint).await.unwrap()
    }

    async fn ask(&self, payload: Payload, options: &RequestOptions) -> Vec<u8> {
        self.request_with(SERVED, payload, options).await.unwrap().payload
    }

    fn replace(former: &Daemon, successor: &Daemon) {
        rename(&successor.endpoint.path, &former.endpoint.path).unwrap();
    }
}

impl Follower for ReconnectingClient {
    async fn connect(daemon: &Daemon) -> Self {
        Self::new(identity_file(&daemon.endpoint), ReconnectConfig::default())
    }

    async fn ask(&self, payload: Payload, options: &RequestOptions) -> Vec<u8> {
        self.request_with(SERVED, payload, options).await.unwrap().payload
    }

    fn replace(former: &Daemon, successor: &Daemon) {
        rename(identity_file(&successor.endpoint), identity_file(&former.endpoint)).unwrap();
    }
}

/// Sends many requests that each append to two files, and hands the daemon over meanwhile.
fn files_are_appended_to_once<D: Driver, F: Follower>() {
    let _alone = alone();
    let before = open_descriptors();
    let (former, successor) = (Daemon::start::<D>(), Daemon::start::<D>());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, answered) = (F::connect(&former).await, AtomicUsize::new(0));
        let options = RequestOptions::new().with_timeout(PATIENCE);
        let task = async || {
            for _ in 0..REQUESTS {
                let mut files = [b"a", b"b"].map(|content| file(content));
                let sent = files.each_ref().map(|file| OwnedFd::from(file.try_clone().unwrap()));
                let payload = Payload::from("append").with_descriptors(sent);
                assert_eq!(client.ask(payload, &options).await, b"2");
                assert_eq!(files.each_mut().map(content), ["ax", "bx"]);
                if answered.fetch_add(1, Ordering::Relaxed) + 1 == ENOUGH {
                    F::replace(&former, &successor);
                    former.stop.hand_over();
                }
            }
        };
        let tasks: [_; TASKS] = std::array::from_fn(|_| task());
        let [first, second, third, fourth] = tasks;
        tokio::join!(first, second, third, fourth);
    });
    drop(runtime);
    let served = [&former, &successor].map(|daemon| daemon.stats.snapshot().requests_answered);
    assert!(served[0] >= ENOUGH as u64 && served[1] > 0, "{served:?}");
    drop((former, successor));
    assert_open(before);
}

fn content(file: &mut File) -> String {
    file.rewind().unwrap();
    let mut content = String::new();
    file.read_to_string(&mut content).unwrap();
    content
}

#[test]
fn a_client_that_follows_has_descriptors_served_once_by_blocking_servers() {
    files_are_appended_to_once::<Server, AsyncFrameClient>();
}

#[test]
fn a_client_that_follows_has_descriptors_served_once_by_asynchronous_servers() {
    files_are_appended_to_once::<OnOneThread, AsyncFrameClient>();
}

#[test]
fn a_client_that_reconnects_has_descriptors_served_once_by_blocking_servers() {
    files_are_appended_to_once::<Server, ReconnectingClient>();
}

#[test]
fn a_client_that_reconnects_has_descriptors_served_once_by_asynchronous_servers() {
    files_are_appended_to_once::<OnThreads, ReconnectingClient>();
}
