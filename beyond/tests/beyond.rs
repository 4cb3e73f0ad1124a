//! A daemon, two workers and a server of NATS as real processes: answers, a killed worker, cancels and deadlines.

mod support;

use running_process::broker::backend_sdk::FrameClientError;
use running_process::broker::protocol::RefusalReason;
use std::collections::HashSet;
use std::error::Error;
use std::time::{Duration, Instant};
use support::{Site, WORK, within};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Longer than any test.
const LONG: &str = "600000";

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_by_one_of_the_workers() -> Outcome {
    let Some(site) = Site::start().await? else { return Ok(()) };
    let _workers = (site.worker("first").await?, site.worker("second").await?);
    let client = site.client().await?;
    let answers = support::ask_all(&client, 64, "5").await?;
    let workers: HashSet<&str> = answers.iter().filter_map(|answer| answer.split(' ').next()).collect();
    assert_eq!(workers, HashSet::from(["first", "second"]));

    let failed = within(client.request(WORK, b"soon x".to_vec())).await.expect_err("an error of the handler");
    assert!(
        matches!(&failed, FrameClientError::Refused(refusal)
        if refusal.reason() == RefusalReason::HandlerFailed && refusal.message == "\"soon\" is no number"),
        "{failed}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_lost_when_a_worker_is_killed() -> Outcome {
    let Some(site) = Site::start().await? else { return Ok(()) };
    let (mut first, second) = (site.worker("first").await?, site.worker("second").await?);
    let client = site.client().await?;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { support::ask_all(&client, 64, "10000").await }
    });
    first.wait_for("began").await;
    second.wait_for("began").await;
    first.kill();
    // Each answer is compared there; some requests were with the worker that is gone.
    let answers = asking.await??;
    assert!(first.count("answered") < first.count("began"), "the worker was killed too late");
    let by_first = answers.iter().filter(|answer| answer.starts_with("first")).count();
    assert!(by_first <= first.count("answered"));
    // And the next ones find the worker that is left, at once.
    support::ask_all(&client, 8, "1").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_and_deadlines_reach_the_worker() -> Outcome {
    let Some(site) = Site::start().await? else { return Ok(()) };
    let worker = site.worker("only").await?;
    let client = site.client().await?;

    let given_up = tokio::spawn({
        let client = client.clone();
        async move { client.request(WORK, format!("{LONG} given-up").into_bytes()).await }
    });
    worker.wait_for("began given-up").await;
    // Dropping the request sends a cancel.
    given_up.abort();
    worker.wait_for("dropped given-up").await;

    let deadline = Instant::now() + Duration::from_secs(2);
    let late = within(client.request_deadline(WORK, format!("{LONG} late").into_bytes(), deadline)).await;
    // Whichever side is the first to see the deadline.
    assert!(
        match &late {
            Err(FrameClientError::TimedOut { .. }) => true,
            Err(FrameClientError::Refused(refusal)) => refusal.reason() == RefusalReason::DeadlinePassed,
            _ => false,
        },
        "{late:?}"
    );
    assert!(Instant::now() >= deadline);
    worker.wait_for("dropped late").await;

    // The end of the client's connection as well.
    let other = site.client().await?;
    let left = tokio::spawn(async move { other.request(WORK, format!("{LONG} left").into_bytes()).await });
    worker.wait_for("began left").await;
    left.abort();
    worker.wait_for("dropped left").await;
    assert_eq!(worker.count("answered"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_a_request_is_refused_at_once_and_served_later() -> Outcome {
    let Some(site) = Site::start().await? else { return Ok(()) };
    let client = site.client().await?;
    let refused = within(client.request(WORK, b"1 x".to_vec())).await.expect_err("a refusal");
    assert!(!refused.may_have_run(), "{refused}");
    assert!(
        matches!(&refused, FrameClientError::Refused(refusal)
        if refusal.reason() == RefusalReason::Overloaded && refusal.retry_after_ms.is_some()),
        "{refused}"
    );

    let mut worker = site.worker("late").await?;
    assert_eq!(within(client.request(WORK, b"1 x".to_vec())).await?.payload, b"late x");

    let busy = site.worker_of("busy", 1).await?;
    worker.terminate()?;
    assert!(worker.wait().await?.success());
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request(WORK, format!("{LONG} long").into_bytes()).await }
    });
    busy.wait_for("began long").await;
    let refused = within(client.request(WORK, b"1 x".to_vec())).await.expect_err("a refusal");
    assert!(!refused.may_have_run(), "{refused}");
    asking.abort();
    busy.wait_for("dropped long").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_end_answers_what_it_has() -> Outcome {
    let Some(site) = Site::start().await? else { return Ok(()) };
    let client = site.client().await?;
    let mut worker = site.worker("late").await?;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request(WORK, b"1000 last".to_vec()).await }
    });
    worker.wait_for("began last").await;
    worker.terminate()?;
    assert_eq!(within(asking).await??.payload, b"late last");
    assert!(worker.wait().await?.success());
    Ok(())
}
