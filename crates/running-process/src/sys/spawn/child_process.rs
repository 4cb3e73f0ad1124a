//! Start of a process that ends with its starter.

#![allow(unsafe_code)]

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use super::plan::SpawnPlan;
use crate::sys::process::ProcessHandle;

/// A child of this process. Dropping it kills the child.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    /// The child, and its status once it was waited for.
    child: Mutex<(Child, Option<ExitStatus>)>,
    process: ProcessHandle,
}

impl ChildProcess {
    /// Starts the child of `plan`, which passes no lock.
    ///
    /// On Unix the child is the leader of a session of its own, and the standard input is empty.
    ///
    /// # Platform-specific behavior
    ///
    /// On Linux the system kills the child when the thread ends that calls this, and the child gets no other descriptor.
    /// Elsewhere the child goes on if this process is killed, and gets descriptors that are not close-on-exec.
    ///
    /// # Errors
    ///
    /// The error of executing the program, or of opening a handle to it.
    pub(crate) fn spawn(plan: &SpawnPlan<'_>) -> io::Result<Self> {
        let mut command = Command::new(plan.program);
        command
            .args(plan.arguments)
            .env_clear()
            .envs(plan.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(plan.directory)
            .stdin(Stdio::null())
            .stdout(plan.log.try_clone()?)
            .stderr(plan.log.try_clone()?);
        #[cfg(unix)]
        prepare(&mut command);
        let mut child = command.spawn()?;
        // No other process gets the number before this one has waited for the child.
        match ProcessHandle::open(child.id()) {
            Ok(Some(process)) => Ok(Self { child: Mutex::new((child, None)), process }),
            found => {
                // Nothing can be told of a process without a handle, so it does not go on.
                let _ended = child.kill();
                child.wait()?;
                Err(found.err().unwrap_or_else(|| io::ErrorKind::NotFound.into()))
            }
        }
    }

    /// Returns the handle to the child.
    pub(crate) fn process(&self) -> &ProcessHandle {
        &self.process
    }

    /// Waits until the child has ended, kills what it left in its process group, and returns its status. Returns the same again
    /// afterwards.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows has no process groups.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn wait(&self) -> io::Result<ExitStatus> {
        let mut waited = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let (child, status) = &mut *waited;
        if let Some(status) = status {
            return Ok(*status);
        }
        self.process.wait_exit(None)?;
        #[cfg(unix)]
        kill_group(child);
        Ok(*status.insert(child.wait()?))
    }
}

/// Kills the process group of a child that has ended and was not waited for, so no other group can have its number.
#[cfg(unix)]
fn kill_group(child: &Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It fails if there is no other process in the group.
        let _none_left = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // After that the wait is short, and leaves no zombie.
        if self.process.kill().is_ok() {
            let _ended = self.wait();
        }
    }
}

#[cfg(unix)]
fn prepare(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let starter = rustix::process::getpid();
    let in_child = move || {
        rustix::process::setsid()?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            if rustix::process::getppid() != Some(starter) {
                // The starter has ended before the call.
                return Err(io::ErrorKind::NotFound.into());
            }
            close_on_exec();
        }
        Ok(())
    };
    // SAFETY: the closure does nothing but system calls, and allocates no memory.
    unsafe { command.pre_exec(in_child) };
}

/// Marks every descriptor above the standard ones, so that the system closes it when the program is executed. Before Linux 5.11
/// it does nothing: descriptors of this library are marked anyway.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn close_on_exec() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: the call changes flags of descriptors, and the only code that runs in this process before it executes a program
    // does not depend on them.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}
