//! The coordinator of a run.

mod bed;
mod faults;
mod hostile;
pub(crate) mod judge;
mod report;
mod sample;
mod stop;

use crate::journal::now;
use crate::options::Options;
use bed::Bed;
use faults::{Counts, Faults, Shared};
use running_process::broker::backend_sdk::OnTermination;
use running_process::broker::service::Deadline;
use sample::{Measured, Sample};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use stop::Stop;

/// Between two measurements of a long run.
const SAMPLE: Duration = Duration::from_secs(10);
/// Measurements of a run at least.
const SAMPLES: u32 = 30;
/// A daemon that was followed has ended after this time and its drain timeout.
const LONGEST_END: Duration = Duration::from_mins(1);

/// Runs, prints the summary, and returns whether all was as it should be.
pub(crate) fn run(options: &Options) -> ExitCode {
    let stop = Arc::new(Stop::default());
    let stopping = Arc::clone(&stop);
    let _signals = OnTermination::new(move || stopping.stop()).unwrap();
    println!("seed {} rate {} for {:?}", options.seed, options.rate, options.duration);
    match soaked(options, &stop) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the run failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of violations.
fn soaked(options: &Options, stop: &Arc<Stop>) -> io::Result<u64> {
    let mut bed = Bed::new(options)?;
    let shared: Arc<Shared> = Arc::default();
    let reader = thread::spawn({
        let (journal, shared) = (bed.read_journal()?, Arc::clone(&shared));
        let at_first = options.first.then(|| Arc::clone(stop));
        move || read(journal, &shared, at_first.as_deref())
    });
    let mut measured = Vec::new();
    for name in ["threads", "tokio"] {
        let pid = bed.start_server(name)?;
        measured.push(Measured {
            name,
            pid,
            descriptors: sample::descriptors(pid),
            samples: vec![],
            cpu: 0.0,
        });
    }
    let client = bed.start_client()?;
    measured.push(Measured { name: "client", pid: client, descriptors: None, samples: vec![], cpu: 0.0 });

    let (service, judge, stop) = (bed.service.clone(), &*shared, &**stop);
    let directory = bed.directory().to_owned();
    let directory = &*directory;
    println!("runs in {}", directory.display());
    let began = Instant::now();
    let (counts, attacks) = thread::scope(|scope| -> io::Result<_> {
        let pause = Duration::from_secs(5).min(options.duration / 10);
        let faults = Faults { service: &service, directory, judge, stop, pause, counts: Counts::default() };
        let faults = scope.spawn(move || faults.run(options.seed));
        let attackers: Vec<_> = bed
            .sockets()
            .into_iter()
            .map(|(name, socket)| {
                scope.spawn(move || {
                    hostile::run(&socket, &name, options.seed, Duration::from_millis(250), stop)
                })
            })
            .collect();
        watch(options, stop, &mut bed, &shared, &mut measured, began);
        stop.stop();
        let mut attacks = BTreeMap::<&str, u64>::new();
        for attacker in attackers {
            for (kind, count) in attacker.join().unwrap() {
                *attacks.entry(kind).or_default() += count;
            }
        }
        Ok((faults.join().unwrap(), attacks))
    })?;
    let violated = |text: &str| shared.0.lock().unwrap().violated(text);
    let took = began.elapsed();
    bed.end_client(options.patience * 2, &violated);
    report::settle(&mut measured, options.settle, &violated);
    bed.end_servers(&violated);
    if let Err(error) = bed.service.stop(Deadline::after(LONGEST_END)) {
        violated(&format!("the service is not stopped: {error}: {error:?}"));
    }
    bed.close_journal();
    reader.join().unwrap();
    let runs_one = || {
        let judge = shared.0.lock().unwrap();
        judge.daemons.iter().any(|daemon| bed::is_daemon(daemon.pid, bed.directory()))
    };
    // A daemon closes the journal shortly before it ends.
    bed::within(LONGEST_END, || !runs_one());
    outlived(&shared, &bed, Duration::ZERO);
    for told in bed.panics() {
        violated(&told);
    }
    let mut judge = shared.0.lock().unwrap();
    judge.close();
    if !judge.finished {
        judge.violated("the client process did not finish");
    }
    report::print(options, took, &mut judge, counts, &attacks, &measured);
    let violations = judge.violations;
    drop(judge);
    if violations > 0 {
        bed.tell_outputs();
    }
    Ok(violations)
}

/// Reads the journal to its end, and ends the run at the first violation if that is asked for.
fn read(journal: impl io::Read, (judge, changed): &Shared, at_first: Option<&Stop>) {
    for line in BufReader::new(journal).lines() {
        let now = now();
        let mut judge = judge.lock().unwrap();
        match line {
            Ok(line) => judge.line(&line, now),
            Err(error) => judge.violated(&format!("the journal cannot be read: {error}")),
        }
        if judge.violations > 0
            && let Some(stop) = at_first
        {
            stop.stop();
        }
        changed.notify_all();
    }
}

/// Measures, looks for what must not be, and tells the progress, until the time is over or the run is ended.
fn watch(
    options: &Options,
    stop: &Stop,
    bed: &mut Bed,
    shared: &Shared,
    measured: &mut [Measured],
    began: Instant,
) {
    let interval = SAMPLE.min(options.duration / SAMPLES);
    let mut minutes = 0;
    loop {
        for process in &mut *measured {
            match Sample::of(process.pid, began.elapsed()) {
                Some(sample) => process.samples.push(sample),
                None => shared.0.lock().unwrap().violated(&format!("{} has ended", process.name)),
            }
            process.cpu = sample::cpu(process.pid).unwrap_or(process.cpu);
        }
        for told in bed.panics() {
            shared.0.lock().unwrap().violated(&told);
        }
        outlived(shared, bed, LONGEST_END + options.drain);
        if began.elapsed().as_secs() / 60 > minutes {
            minutes = began.elapsed().as_secs() / 60;
            report::progress(minutes, &shared.0.lock().unwrap(), measured);
        }
        let left = options.duration.saturating_sub(began.elapsed());
        let has_ended = measured.iter().any(|process| sample::descriptors(process.pid).is_none());
        if has_ended || left.is_zero() || stop.wait(interval.min(left)) {
            return;
        }
    }
}

/// Tells daemons of the service that still run so long after the next one was ready.
fn outlived(shared: &Shared, bed: &Bed, longest: Duration) {
    let mut judge = shared.0.lock().unwrap();
    let before = now().saturating_sub(u64::try_from(longest.as_nanos()).unwrap());
    let is_late = |daemon: &judge::Daemon| daemon.followed.is_some_and(|at| at < before) || longest.is_zero();
    let left: Vec<u32> = judge
        .daemons
        .iter()
        .filter(|daemon| is_late(daemon) && bed::is_daemon(daemon.pid, bed.directory()))
        .map(|daemon| daemon.pid)
        .collect();
    for pid in left {
        judge.violated(&format!("the daemon {pid} still runs"));
    }
    // Those that have ended are not asked for again, as their numbers are used again.
    if judge.daemons.len() > 100 {
        let keep = judge.daemons.len() - 50;
        judge.daemons.drain(..keep);
    }
}
