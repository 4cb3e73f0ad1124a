//! The progress of a run, what is judged at its end, and the summary.

use super::bed::within;
use super::faults::Counts;
use super::judge::Judge;
use super::sample::{self, Measured, Sample, mean, slope};
use crate::options::Options;
use std::collections::BTreeMap;
use std::time::Duration;

/// From this many seconds on, caches and pools have their sizes by the second half of a run.
const LONG: f64 = 600.0;
/// The memory that a process may gain in the second half of a run, in KiB, besides that of each hour: of a long run, and of a short one.
/// Peaks of load still come then, which make threads. `ci/soak.sh` bounds what glibc keeps for each.
const GAINED: [f64; 2] = [4096.0, 65536.0];
/// The memory that it may gain in an hour, in KiB.
const GAINED_EACH_HOUR: f64 = 1024.0;
/// Descriptors and threads by which the last quarter of a long run may exceed the second one on average. Connections come and go; the
/// blocking server keeps the threads of its peaks.
const MORE: [f64; 2] = [12.0, 40.0];

/// Tells the progress.
pub(super) fn progress(minutes: u64, judge: &Judge, measured: &[Measured]) {
    let memory: Vec<_> = measured
        .iter()
        .filter_map(|process| Some((process.name, process.samples.last()?)))
        .map(|(name, sample)| format!("{name} {} KiB {} fd", sample.rss, sample.descriptors))
        .collect();
    println!("{minutes} min: {}; {} daemons; {}", judge.summary(), judge.readies, memory.join(", "));
}

/// Checks that the servers have closed all connections within `longest`.
pub(super) fn settle(measured: &mut [Measured], longest: Duration, violated: &dyn Fn(&str)) {
    for process in measured {
        let Some(before) = process.descriptors else { continue };
        let mut left = None;
        within(longest, || {
            left = sample::descriptors(process.pid);
            left.is_some_and(|left| left <= before)
        });
        if left.is_none_or(|left| left > before) {
            violated(&format!("{} has {left:?} descriptors at the end, and had {before}", process.name));
        }
    }
}

/// One of the values of a sample.
type Value = fn(&Sample) -> f64;

fn hours(samples: &[Sample]) -> f64 {
    let half = &samples[samples.len() / 2..];
    half.last().map_or(0.0, |last| last.at - half[0].at) / 3600.0
}

/// Judges the memory, descriptors and threads of a process, and prints them.
fn judge_process(judge: &mut Judge, process: &Measured) {
    let Measured { name, samples, .. } = process;
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return judge.violated(&format!("{name} was never measured"));
    };
    let values: [(&str, Value); 4] = [
        ("rss KiB", |sample| sample.rss),
        ("pss KiB", |sample| sample.pss),
        ("descriptors", |sample| sample.descriptors),
        ("threads", |sample| sample.threads),
    ];
    print!("{name}: cpu {:.1} s", process.cpu);
    for (what, value) in values {
        print!("; {what} {} to {}, slope {:+.1} an hour", value(first), value(last), slope(samples, value));
    }
    println!();
    let short = usize::from(last.at < LONG);
    let quarter = samples.len() / 4;
    for ((what, value), more) in values[2..].iter().zip(MORE).filter(|_| quarter > 0) {
        let second = mean(&samples[quarter..2 * quarter], value);
        let last = mean(&samples[samples.len() - quarter..], value);
        if short == 0 && last - second > more {
            judge.violated(&format!(
                "{name} has {last:.1} {what} on average in the last quarter, {second:.1} in the second"
            ));
        }
    }
    let hours = hours(samples);
    let gained = slope(samples, |sample| sample.pss.min(sample.rss)) * hours;
    let allowed = GAINED[short] + GAINED_EACH_HOUR * hours;
    if gained > allowed {
        judge.violated(&format!(
            "{name} has gained {gained:.0} KiB in the second half, of {allowed:.0} that it may"
        ));
    }
}

/// Judges the processes, and prints the summary.
pub(super) fn print(
    options: &Options,
    took: Duration,
    judge: &mut Judge,
    counts: Counts,
    attacks: &BTreeMap<&str, u64>,
    measured: &[Measured],
) {
    println!("\nsoak: {:.1} s, seed {}, rate {}", took.as_secs_f64(), options.seed, options.rate);
    println!("{}", judge.summary());
    for (lane, count) in &judge.answered {
        println!("  {lane} {count}");
    }
    let attacks: Vec<_> = attacks.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("hostile peers: {}", attacks.join(", "));
    let Counts { replacements, kills, kills_in_replacements, stops } = counts;
    println!(
        "faults: handovers {replacements}, stops {stops}, kills {kills}, kills in handovers {kills_in_replacements}"
    );
    let drivers: Vec<_> = judge.drivers.iter().map(|(driver, count)| format!("{driver} {count}")).collect();
    println!("daemons of the service: starts {}, {}", judge.starts, drivers.join(", "));
    for process in measured {
        judge_process(judge, process);
    }
    println!("violations {}", judge.violations);
}
