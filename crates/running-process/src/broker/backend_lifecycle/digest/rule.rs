//! The rule for which digests may be remembered, and for how long: a function of facts.
//!
//! A remembered digest is found again by a [key](super::key::FileKey), so it is valid only while no content can change
//! under an equal key. On Linux three facts together exclude that:
//!
//! 1. While a process runs an image, the kernel refuses to open its file for writing, and a file that is open or mapped for
//!    writing cannot be executed. So when the digests are read of an image that runs before and after, no writer exists.
//! 2. A later writer must open the file anew. On file systems that keep the time of change, the first write or
//!    the first store through the new mapping sets it to the time of the wall clock.
//! 3. That time differs from the one in the key, because the one in the key is older than the moment before the image was
//!    seen to run, by more than the clocks are coarse.
//!
//! A store through a mapping that was made before the digests were read leaves the time of change as it is. So the age
//! of the file alone decides nothing, and digests of a file that no process runs are not remembered.

/// Time for which a file must not have changed before its image was seen to run, in nanoseconds.
///
/// A file system uses the time of the last timer tick, which is up to 10 ms old, and a step of the clock below [`STEP`]
/// is not noticed. The rest is a reserve.
pub(super) const MARGIN: i128 = 50_000_000;

/// Difference between two readings of the [offset](Moment::offset) that counts as a step of the wall clock, in
/// nanoseconds: twice as much as two readings of one boot differ.
pub(super) const STEP: i64 = 4_000_000;

/// A moment on the wall clock, which can be set, and its distance to a clock that cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Nanoseconds since the Unix epoch.
    pub(super) wall: i64,
    /// The wall clock minus the time since boot, in nanoseconds. It stays the same for a whole boot unless the wall
    /// clock is set.
    pub(super) offset: i64,
}

impl Moment {
    /// Returns whether the wall clock was set between two moments of one boot whose offsets these are.
    pub(super) fn is_step(one: i64, other: i64) -> bool {
        one.abs_diff(other) >= STEP.unsigned_abs()
    }
}

/// The guarantees of a file system about a file that is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// Refuses writers while the file is executed, and every later writer sets the time of change.
    KeepsChangeTime,
    /// Refuses writers while the file is executed. A store through a mapping sets no time.
    InMemory,
    /// No guarantee is known: the file may change through another name, another machine or another program.
    Unknown,
}

/// The facts that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// This kernel refuses writers of an image that runs.
    pub(super) writers_refused: bool,
    pub(super) file_system: FileSystem,
    /// Time of change of the file, which was the same before and after it was read: seconds and nanoseconds since the Unix
    /// epoch.
    pub(super) changed: (i64, i64),
    /// The moment before the process was seen to run the image.
    pub(super) before: Option<Moment>,
    /// The moment after the image was read and the process was seen to run it again.
    pub(super) after: Option<Moment>,
}

/// The time for which digests may be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Remember {
    /// Not at all: they are valid for the moment at which they were read.
    Not,
    /// While the process does not execute another image, which no other process can know.
    WhileItRuns,
    /// While the key is the same, for every process of this boot.
    ByKey,
}

/// Returns the time for which digests may be remembered that were read while a process ran the image.
pub(super) fn remember(facts: &Facts) -> Remember {
    if !facts.writers_refused {
        return Remember::Not;
    }
    match facts.file_system {
        FileSystem::Unknown => Remember::Not,
        FileSystem::KeepsChangeTime if is_older(facts) => Remember::ByKey,
        FileSystem::KeepsChangeTime | FileSystem::InMemory => Remember::WhileItRuns,
    }
}

/// Returns whether any later write sets another time of change.
fn is_older(facts: &Facts) -> bool {
    let (Some(before), Some(after)) = (facts.before, facts.after) else { return false };
    let (seconds, nanoseconds) = facts.changed;
    // A file system that keeps whole seconds is recognized by the zeros.
    seconds > 0
        && (1..1_000_000_000).contains(&nanoseconds)
        && !Moment::is_step(before.offset, after.offset)
        && i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds) + MARGIN <= i128::from(before.wall)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;
    const MARGIN_NS: i64 = 50_000_000;

    fn any_moment() -> impl Strategy<Value = Moment> {
        (0..4_000_000_000 * SECOND, any::<i64>()).prop_map(|(wall, offset)| Moment { wall, offset })
    }

    fn any_file_system() -> impl Strategy<Value = FileSystem> {
        prop_oneof![Just(FileSystem::KeepsChangeTime), Just(FileSystem::InMemory), Just(FileSystem::Unknown)]
    }

    prop_compose! {
        fn any_facts()(
            writers_refused in any::<bool>(),
            file_system in any_file_system(),
            changed in (any::<i64>(), any::<i64>()),
            before in proptest::option::of(any_moment()),
            after in proptest::option::of(any_moment()),
        ) -> Facts {
            Facts { writers_refused, file_system, changed, before, after }
        }
    }

    /// Returns the facts of a file that was changed `age` nanoseconds before `before`, after which the wall clock was
    /// set by `step`.
    fn facts(before: Moment, age: i64, step: i64) -> Facts {
        let changed = before.wall - age;
        Facts {
            writers_refused: true,
            file_system: FileSystem::KeepsChangeTime,
            changed: (changed.div_euclid(SECOND), changed.rem_euclid(SECOND)),
            before: Some(before),
            after: Some(Moment { wall: before.wall + step + 1, offset: before.offset.wrapping_add(step) }),
        }
    }

    #[test]
    fn a_file_is_remembered_by_its_key_from_fifty_milliseconds_on() {
        let before = Moment { wall: 1_000 * SECOND + 7, offset: 400 * SECOND };
        let cases = [
            (MARGIN_NS, Remember::ByKey),
            (900 * SECOND, Remember::ByKey),
            (MARGIN_NS - 1, Remember::WhileItRuns),
            (0, Remember::WhileItRuns),
            // The file is from the future: the wall clock was set back since.
            (-SECOND, Remember::WhileItRuns),
            // A time in whole seconds.
            (100 * SECOND + 7, Remember::WhileItRuns),
        ];
        for (age, expected) in cases {
            assert_eq!(remember(&facts(before, age, 0)), expected, "{age}");
        }
        for nonsense in [(i64::MIN, 5), (i64::MAX, 5), (100, -5), (100, SECOND), (100, 0), (0, 5)] {
            let facts = Facts { changed: nonsense, ..facts(before, SECOND, 0) };
            assert_eq!(remember(&facts), Remember::WhileItRuns, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_remembered_where_an_image_that_runs_can_be_written(facts in any_facts()) {
            let impossible = !facts.writers_refused || facts.file_system == FileSystem::Unknown;
            prop_assert_eq!(remember(&facts) == Remember::Not, impossible);
        }

        #[test]
        fn by_key_only_where_a_later_write_leaves_another_time(facts in any_facts()) {
            if remember(&facts) == Remember::ByKey {
                prop_assert_eq!(facts.file_system, FileSystem::KeepsChangeTime);
                let (before, after) = (facts.before.unwrap(), facts.after.unwrap());
                prop_assert!(!Moment::is_step(before.offset, after.offset));
                // Any write from `before` on gets that time, less one tick.
                let earliest = i128::from(before.wall) - 10_000_000;
                let (seconds, nanoseconds) = facts.changed;
                prop_assert!(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds) < earliest);
            }
        }

        #[test]
        fn a_step_of_the_wall_clock_leaves_only_the_process(
            wall in 1_000 * SECOND..4_000_000_000 * SECOND,
            offset in -SECOND * 1_000_000..SECOND * 1_000_000,
            age in MARGIN_NS..900 * SECOND,
            step in -900 * SECOND..900 * SECOND,
        ) {
            let facts = facts(Moment { wall, offset }, age, step);
            prop_assume!(facts.changed.1 != 0);
            let expected = if step.abs() < STEP { Remember::ByKey } else { Remember::WhileItRuns };
            prop_assert_eq!(remember(&facts), expected);
        }

        #[test]
        fn no_knowledge_never_makes_it_longer(facts in any_facts()) {
            let known = remember(&facts);
            let lesser = [
                Facts { before: None, ..facts },
                Facts { after: None, ..facts },
                Facts { writers_refused: false, ..facts },
                Facts { file_system: FileSystem::Unknown, ..facts },
            ];
            for facts in lesser {
                prop_assert!(remember(&facts) <= known, "{:?}", facts);
            }
        }
    }
}
