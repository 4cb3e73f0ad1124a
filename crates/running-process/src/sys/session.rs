//! The session of a process.

#![allow(unsafe_code)]

/// Returns the session of the process `pid`: the id of the process that made it. Returns `None` if there is no such process,
/// the system does not tell, or the session was made outside of the caller's PID namespace: there it has no id.
pub(crate) fn session_of(pid: u32) -> Option<u32> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0)?;
    // SAFETY: getsid(2) takes a number. `rustix::process::getsid` panics if the session has no id.
    let session = unsafe { libc::getsid(pid) };
    u32::try_from(session).ok().filter(|session| *session > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_no_process_have_no_session() {
        for pid in [0, u32::MAX, i32::MAX.cast_unsigned()] {
            assert_eq!(session_of(pid), None, "{pid}");
        }
    }
}
