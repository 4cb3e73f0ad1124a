//! The daemon's own part in handing its endpoint over.

use super::callback;
use std::error::Error;
use std::fmt;
use std::iter;

type Release = Box<dyn FnMut() -> Result<(), Box<dyn Error + Send + Sync>> + Send>;

/// The closures of a daemon around a handover: it gives up what only one process can have, and takes it back.
#[derive(Default)]
#[cfg_attr(windows, allow(dead_code, reason = "the system hands no endpoint over"))]
pub(in crate::broker) struct HandoverHooks {
    release: Option<Release>,
    resume: Option<Box<dyn FnMut() + Send>>,
}

#[cfg_attr(windows, allow(dead_code, reason = "the system hands no endpoint over"))]
impl HandoverHooks {
    pub(in crate::broker) fn set_release<E: Into<Box<dyn Error + Send + Sync>>>(
        &mut self,
        mut release: impl FnMut() -> Result<(), E> + Send + 'static,
    ) {
        self.release = Some(Box::new(move || release().map_err(E::into)));
    }

    pub(in crate::broker) fn set_resume(&mut self, resume: impl FnMut() + Send + 'static) {
        self.resume = Some(Box::new(resume));
    }

    /// Runs `release`. Returns the reason why it failed, with its causes.
    pub(in crate::broker) fn release(&mut self) -> Result<(), String> {
        let Some(release) = &mut self.release else { return Ok(()) };
        match callback::run(release) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(chain(&*error)),
            None => Err("the daemon's release hook panicked".to_owned()),
        }
    }

    /// Runs `resume`, also if it panics.
    pub(in crate::broker) fn resume(&mut self) {
        if let Some(resume) = &mut self.resume {
            let _panicked = callback::run(resume);
        }
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<_> =
        iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    texts.join(": ")
}

impl fmt::Debug for HandoverHooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (self.release.is_some(), self.resume.is_some());
        formatter.debug_struct("HandoverHooks").field("set", &set).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_hook_that_fails_or_panics_is_told_with_its_causes() {
        let mut hooks = HandoverHooks::default();
        assert_eq!(hooks.release(), Ok(()));
        hooks.resume();
        let mut calls = 0;
        hooks.set_release(move || {
            calls += 1;
            match calls {
                1 => Ok(()),
                2 => Err(io::Error::other("the database is busy")),
                _ => panic!("of the daemon"),
            }
        });
        assert_eq!(hooks.release(), Ok(()));
        assert_eq!(hooks.release(), Err("the database is busy".to_owned()));
        assert!(hooks.release().unwrap_err().contains("panicked"));
        hooks.set_resume(|| panic!("of the daemon"));
        hooks.resume();
    }
}
