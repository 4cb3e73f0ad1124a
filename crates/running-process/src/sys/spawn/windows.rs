//! Windows: `CreateProcessW`. Every process is independent of the one that made it.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Instant;

use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_ACCESS_DENIED, HANDLE, TRUE,
};
use windows_sys::Win32::System::Threading::{
    CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, CREATE_UNICODE_ENVIRONMENT,
    CreateProcessW, DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, GetCurrentProcess,
    InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
    PROCESS_INFORMATION, STARTF_USESTDHANDLES, STARTUPINFOEXW, UpdateProcThreadAttribute,
};

use super::plan::{ProcessEnd, SpawnPlan};
use super::windows_text::{command_line, environment, terminated};
use crate::sys::process::ProcessHandle;

/// A console without a window, of its own: the end of the starter's console does not reach the daemon, and programs that the
/// daemon runs share the console. Without any console the system would open a window for each of those.
const DETACHED: u32 = CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP;

pub(super) fn spawn(plan: &SpawnPlan<'_>) -> io::Result<Spawned> {
    let program = terminated(plan.program.as_os_str())?;
    let directory = terminated(plan.directory.as_os_str())?;
    let environment = environment(plan.environment)?;
    let (input, log) = (inheritable(&File::open("NUL")?)?, inheritable(plan.log)?);
    let handles = [input.as_raw_handle(), log.as_raw_handle()];
    let attributes = Attributes::with_handles(&handles)?;
    // SAFETY: a C struct of integers and pointers, for which zeros are valid.
    let mut startup: STARTUPINFOEXW = unsafe { mem::zeroed() };
    startup.StartupInfo.cb = u32::try_from(size_of::<STARTUPINFOEXW>()).unwrap_or_default();
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    startup.StartupInfo.hStdInput = handles[0];
    startup.StartupInfo.hStdOutput = handles[1];
    startup.StartupInfo.hStdError = handles[1];
    startup.lpAttributeList = attributes.list();
    let create = |flags| {
        // The system may change it.
        let mut command_line = command_line(plan)?;
        let mut made = PROCESS_INFORMATION::default();
        let flags = flags | DETACHED | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
        // SAFETY: the texts end in NUL, the block of variables in two. All that is passed outlives the call, the attributes with
        // the handles that they name, too.
        let result = unsafe {
            CreateProcessW(
                program.as_ptr(),
                command_line.as_mut_ptr(),
                ptr::null(),
                ptr::null(),
                TRUE,
                flags,
                environment.as_ptr().cast(),
                directory.as_ptr(),
                (&raw const startup).cast(),
                &raw mut made,
            )
        };
        if result == 0 { Err(io::Error::last_os_error()) } else { Ok(made) }
    };
    let made = match create(CREATE_BREAKAWAY_FROM_JOB) {
        // The job of this process keeps its processes, or the program may not be executed.
        Err(error) if error.raw_os_error() == Some(ERROR_ACCESS_DENIED.cast_signed()) => create(0),
        made => made,
    }?;
    // SAFETY: the system has made both handles for this call, so they are open and no other code owns them.
    let [process, _thread] =
        [made.hProcess, made.hThread].map(|handle| unsafe { OwnedHandle::from_raw_handle(handle) });
    let process = ProcessHandle(crate::sys::imp::ProcessHandle::from_handle(made.dwProcessId, process));
    Ok(Spawned { process })
}

/// Returns a copy of the handle that the daemon inherits. A process that other code of this one makes meanwhile may inherit it,
/// too, if it inherits everything.
fn inheritable(file: &File) -> io::Result<OwnedHandle> {
    let mut copy = ptr::null_mut();
    // SAFETY: the handle is open, and the place is exclusively borrowed. What `GetCurrentProcess` returns is always valid.
    let result = unsafe {
        let this = GetCurrentProcess();
        let handle = file.as_handle().as_raw_handle();
        DuplicateHandle(this, handle, this, &raw mut copy, 0, TRUE, DUPLICATE_SAME_ACCESS)
    };
    if result == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open and no other code owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(copy) })
}

/// Attributes of a new process: the handles that it inherits, and no others.
struct Attributes(Vec<u64>);

impl Attributes {
    /// The list refers to `handles` for as long as it is used.
    fn with_handles(handles: &[HANDLE]) -> io::Result<Self> {
        const COUNT: u32 = 1;
        let mut size = 0;
        // This fails and tells the size.
        // SAFETY: without a list the call only writes the size.
        unsafe { InitializeProcThreadAttributeList(ptr::null_mut(), COUNT, 0, &raw mut size) };
        let mut memory = vec![0_u64; size.div_ceil(size_of::<u64>())];
        // SAFETY: the memory has the size that the system asked for.
        if unsafe { InitializeProcThreadAttributeList(memory.as_mut_ptr().cast(), COUNT, 0, &raw mut size) }
            == 0
        {
            return Err(io::Error::last_os_error());
        }
        let attributes = Self(memory);
        // SAFETY: the list is initialized, and the handles have the length that is given.
        let result = unsafe {
            UpdateProcThreadAttribute(
                attributes.list(),
                0,
                PROC_THREAD_ATTRIBUTE_HANDLE_LIST as usize,
                handles.as_ptr().cast(),
                size_of_val(handles),
                ptr::null_mut(),
                ptr::null(),
            )
        };
        if result == 0 { Err(io::Error::last_os_error()) } else { Ok(attributes) }
    }

    fn list(&self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.0.as_ptr().cast_mut().cast()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the list is initialized, and not used afterwards.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}

#[derive(Debug)]
pub(super) struct Spawned {
    process: ProcessHandle,
}

impl Spawned {
    pub(super) fn process(&self) -> &ProcessHandle {
        &self.process
    }

    pub(super) fn end(&mut self, deadline: Option<Instant>) -> io::Result<Option<ProcessEnd>> {
        if !self.process.wait_exit(deadline)? {
            return Ok(None);
        }
        Ok(Some(ProcessEnd::Exited(self.process.0.exit_code()?.cast_signed())))
    }
}
