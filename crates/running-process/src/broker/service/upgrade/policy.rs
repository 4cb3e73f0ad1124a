use super::candidate::Candidate;
use super::decision::{Decision, KeepReason, Obstacle, RefuseReason, ReplaceReason};
use super::record::ReplacementRecord;
use super::release::Named;
use super::version::precedence;
use crate::broker::service::replace::replacement::Replacement;
use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

/// Default bound: an upgrade is one replacement, a mistake and its correction are two more. Clients of two versions that take turns
/// reach it at once.
const COUNT: u32 = 3;
/// Time of the default bound: long enough that clients in turn cost the daemon's state rarely, short enough to wait for.
const WITHIN: Duration = Duration::from_mins(10);

/// Time for which a replacement that gave the same version again is not repeated: the program may have got another version in a way that
/// its file does not show, as a script of an interpreter does.
const FUTILE_FOR: Duration = Duration::from_hours(24);

/// Largest count of [`UpgradePolicy::bound`]: as many replacements are recorded.
pub const MAX_BOUND: u32 = 16;

/// Decides whether a client replaces the daemon that runs, by its version and that which the client wants.
///
/// Default: [`newer_replaces`](Self::newer_replaces), for a daemon of the same program, at most 3 times in 10 minutes.
///
/// ```
/// use running_process::Service;
/// use running_process::broker::service::{Replacement, UpgradePolicy};
/// use std::time::Duration;
///
/// let policy = UpgradePolicy::newer_replaces()
///     .by(Replacement::StopThenStart) // the daemon has what only one process may have
///     .bound(1, Duration::from_mins(5));
/// let service = Service::new("my-daemon")?.version("1.10.0").upgrade_policy(policy);
/// # Ok::<_, running_process::broker::service::ServiceNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradePolicy {
    rule: Rule,
    any_path: bool,
    count: u32,
    within: Duration,
    by: Replacement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    NewerReplaces,
    OwnVersion,
    Never,
}

impl Default for UpgradePolicy {
    fn default() -> Self {
        Self::newer_replaces()
    }
}

impl UpgradePolicy {
    /// Replaces a daemon that is older than the client wants, by the precedence of [SemVer](https://semver.org/#spec-item-11). A
    /// daemon without a version is older than any. Versions that are not of that kind replace nothing, and are not replaced.
    ///
    /// So of two clients of different versions at most one replaces, and no versions replace each other in turn.
    #[must_use]
    pub fn newer_replaces() -> Self {
        Self::of(Rule::NewerReplaces)
    }

    /// Replaces a daemon of any other version or build than exactly those that the client wants; a client without a build takes any.
    /// Where such a daemon cannot be had, the client gets an error in the place of another one. Clients of two versions replace each
    /// other's daemon as often as [`bound`](Self::bound) allows.
    #[must_use]
    pub fn own_version() -> Self {
        Self::of(Rule::OwnVersion)
    }

    /// Replaces no daemon.
    #[must_use]
    pub fn never() -> Self {
        Self::of(Rule::Never)
    }

    fn of(rule: Rule) -> Self {
        Self { rule, any_path: false, count: COUNT, within: WITHIN, by: Replacement::default() }
    }

    /// Lets the client replace the daemon of another program than its own command names. Default: it does not, since a copy in
    /// another place, such as a developer's build, is not the installation that the service names.
    ///
    /// Where each version has a directory of its own and a link leads to the latest one, the command is to name the link.
    #[must_use]
    pub fn any_path(mut self, any_path: bool) -> Self {
        self.any_path = any_path;
        self
    }

    /// Bounds the replacements of all clients to `count` within the time `within`, failed ones included. Default: 3 in 10 minutes.
    /// With 0 the client replaces nothing, and gets an error where it would. At most [`MAX_BOUND`].
    #[must_use]
    pub fn bound(mut self, count: u32, within: Duration) -> Self {
        (self.count, self.within) = (count.min(MAX_BOUND), within);
        self
    }

    /// Sets the way in which a daemon is replaced. Default: [`Replacement::default`].
    #[must_use]
    pub fn by(mut self, by: Replacement) -> Self {
        self.by = by;
        self
    }

    /// Returns the way in which a daemon is replaced.
    #[must_use]
    pub fn replacement(&self) -> Replacement {
        self.by
    }

    /// Decides what a client does that wants `wanted` and finds the daemon `running`. `recent` are the last replacements, in
    /// their order, and `now` is the time.
    #[must_use]
    pub fn decide(
        &self,
        running: &Candidate,
        wanted: &Candidate,
        recent: &[ReplacementRecord],
        now: SystemTime,
    ) -> Decision {
        let (daemon, client) = (running.release.clone(), wanted.release.clone());
        let reason = match self.wish(running.release.named(), wanted.release.named()) {
            Ok(reason) => reason,
            Err(reason) => return Decision::Keep { running: daemon, wanted: client, reason },
        };
        if let Some(obstacle) = self.obstacle(running, wanted, recent, now) {
            return match self.rule {
                Rule::OwnVersion => {
                    let reason = RefuseReason::Obstacle(obstacle);
                    Decision::Refuse { running: daemon, wanted: client, reason }
                }
                _ => {
                    let reason = KeepReason::Obstacle(obstacle);
                    Decision::Keep { running: daemon, wanted: client, reason }
                }
            };
        }
        match self.exhausted(recent, now) {
            Some(reason) => Decision::Refuse { running: daemon, wanted: client, reason },
            None => Decision::Replace { running: daemon, wanted: client, reason },
        }
    }

    /// Returns the reason why the client wants to replace the daemon, by the versions alone, or the reason why it does not. That is
    /// all for most clients, and costs no allocation.
    pub(super) fn wish(&self, running: Named<'_>, wanted: Named<'_>) -> Result<ReplaceReason, KeepReason> {
        let Some(version) = wanted.version else { return Err(KeepReason::ClientWithoutVersion) };
        match self.rule {
            Rule::Never => Err(KeepReason::Never),
            Rule::OwnVersion => {
                let is_own = running.version == Some(version)
                    && wanted.build.is_none_or(|build| running.build == Some(build));
                if is_own { Err(KeepReason::Same) } else { Ok(ReplaceReason::Other) }
            }
            Rule::NewerReplaces => match running.version {
                None => Ok(ReplaceReason::WithoutVersion),
                Some(running) if running == version => Err(KeepReason::Same),
                Some(running) => match precedence(running, version) {
                    Some(Ordering::Less) => Ok(ReplaceReason::Older),
                    Some(Ordering::Equal) => Err(KeepReason::Same),
                    Some(Ordering::Greater) => Err(KeepReason::Newer),
                    None => Err(KeepReason::NotComparable),
                },
            },
        }
    }

    fn obstacle(
        &self,
        running: &Candidate,
        wanted: &Candidate,
        recent: &[ReplacementRecord],
        now: SystemTime,
    ) -> Option<Obstacle> {
        let Some(program) = &wanted.program else { return Some(Obstacle::NoProgram) };
        if !self.any_path && running.program.as_ref() != Some(program) {
            return Some(Obstacle::OtherProgram {
                running: running.program.clone(),
                wanted: program.clone(),
            });
        }
        // The same program would give the same daemon again.
        let is_futile = |record: &ReplacementRecord| {
            wanted.mark.is_some()
                && record.mark == wanted.mark
                && record.wanted == wanted.release
                && record.to.as_ref() == Some(&running.release)
                && now.duration_since(record.at).is_ok_and(|age| age < FUTILE_FOR)
        };
        recent.iter().any(is_futile).then_some(Obstacle::NotUpgraded)
    }

    /// Returns the reason not to replace, if as many replacements were made lately as are allowed. Those that a clock which was set
    /// back puts into the future do not count.
    fn exhausted(&self, recent: &[ReplacementRecord], now: SystemTime) -> Option<RefuseReason> {
        let age = |record: &ReplacementRecord| now.duration_since(record.at).ok();
        let counted: Vec<_> =
            recent.iter().filter(|record| age(record).is_some_and(|age| age < self.within)).collect();
        let allowed = usize::try_from(self.count).unwrap_or(usize::MAX);
        let excess = counted.len().checked_sub(allowed)?;
        // The next one is allowed once this one is older than the time.
        let oldest = counted.get(excess).and_then(|record| age(record)).unwrap_or_default();
        Some(RefuseReason::TooMany {
            count: self.count,
            within: self.within,
            last: counted.last().map(|record| (record.from.clone(), record.to.clone())),
            retry_after: self.within.saturating_sub(oldest),
        })
    }
}

#[cfg(test)]
mod tests;
