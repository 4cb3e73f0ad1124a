//! The memory, descriptors and threads of a process from outside, over time.

use std::fs;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Seconds since the start of the run.
    pub(super) at: f64,
    /// Resident memory, in KiB.
    pub(super) rss: f64,
    /// Resident memory, that shared with others in part, in KiB.
    pub(super) pss: f64,
    pub(super) descriptors: f64,
    pub(super) threads: f64,
}

impl Sample {
    /// Measures a process; `None` if it has ended.
    pub(super) fn of(pid: u32, at: Duration) -> Option<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        Some(Self {
            at: at.as_secs_f64(),
            rss: number(&rollup, "Rss:")?,
            pss: number(&rollup, "Pss:")?,
            descriptors: f64::from(descriptors(pid)?),
            threads: number(&status, "Threads:")?,
        })
    }
}

/// Returns the number of open descriptors of a process.
pub(super) fn descriptors(pid: u32) -> Option<u32> {
    u32::try_from(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count()).ok()
}

/// Returns the processor time of a process so far, in seconds.
pub(super) fn cpu(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    // USER_HZ is 100: proc_pid_stat(5).
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// Returns the slope of `value` over the second half of the samples by least squares, in units an hour.
pub(super) fn slope(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let half = &samples[samples.len() / 2..];
    if half.len() < 2 {
        return 0.0;
    }
    let (at, values) = (mean(half, |sample| sample.at), mean(half, &value));
    let square: f64 = half.iter().map(|sample| (sample.at - at).powi(2)).sum();
    let product: f64 = half.iter().map(|sample| (sample.at - at) * (value(sample) - values)).sum();
    if square == 0.0 { 0.0 } else { product / square * 3600.0 }
}

pub(super) fn mean(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "few samples")]
    let count = samples.len().max(1) as f64;
    samples.iter().map(value).sum::<f64>() / count
}

/// A process that lives as long as the run.
pub(super) struct Measured {
    pub(super) name: &'static str,
    pub(super) pid: u32,
    /// The descriptors before any client came; `None` for a client.
    pub(super) descriptors: Option<u32>,
    pub(super) samples: Vec<Sample>,
    pub(super) cpu: f64,
}
