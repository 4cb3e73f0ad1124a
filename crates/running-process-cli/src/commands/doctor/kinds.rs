//! Every kind of finding: its name in JSON, its severity, and what does not depend on the service.
//!
//! docs/troubleshooting.md has a section for each; a test compares.

use serde::Serialize;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// The service does not work, or will not at its next start.
    Error,
    /// It works, or will, but not as it should.
    Warning,
    /// It works; this may explain what a person sees.
    Note,
}

/// The part of `--fix` in a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// `--fix` does this.
    Does(&'static str),
    /// `--fix` does it to the process that `--end` names.
    Ends,
    /// `--fix` does nothing, for this reason.
    Leaves(&'static str),
}

impl Fix {
    /// Returns what `--fix` does, or why it does nothing.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Does(text) | Self::Leaves(text) => text,
            Self::Ends => "ends the process that --end names, by a handle, if it still listens there",
        }
    }
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Name in JSON and in the documentation.
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// It only says that something cannot be told from here.
    pub(crate) is_undecided: bool,
    /// The reason why it matters.
    pub(crate) why: &'static str,
    /// The advice of what to do.
    pub(crate) advice: &'static str,
    pub(crate) fix: Fix,
}

macro_rules! all_kinds {
    ($($severity:ident $name:ident = $id:literal { $why:literal, $advice:literal, $fix:expr })*) => {
        $(pub(crate) static $name: Kind = Kind {
            id: $id,
            severity: all_kinds!(@severity $severity),
            is_undecided: all_kinds!(@undecided $severity),
            why: $why,
            advice: $advice,
            fix: $fix,
        };)*
        /// All kinds.
        #[cfg(test)]
        pub(crate) static ALL: &[&Kind] = &[$(&$name),*];
    };
    (@severity undecided) => { Severity::Warning };
    (@severity error) => { Severity::Error };
    (@severity warning) => { Severity::Warning };
    (@severity note) => { Severity::Note };
    (@undecided undecided) => { true };
    (@undecided $other:ident) => { false };
}

const UNPROVEN: Fix = Fix::Leaves("it is not proven who that process is, and it may be doing work");
const OTHERS_COULD_WRITE: Fix =
    Fix::Leaves("another user may have written what is there, so a person must look at it first");
const OF_THE_SYSTEM: Fix = Fix::Leaves("it is not the service's to change");
const CHOICE: Fix = Fix::Leaves("which of them is wanted is not for this command to decide");
const PASSES: Fix = Fix::Leaves("it passes by itself");
const OUTSIDE: Fix = Fix::Leaves("nothing can be proven from here");

all_kinds! {
    // The state of the daemon.
    error IMPOSTOR = "impostor" {
        "Clients are refused, so that their requests do not reach another program. Nobody is started or stopped meanwhile.",
        "Look at that process. If it has no business at the socket, end it, then start the service again.",
        UNPROVEN
    }
    error FOREIGN_LISTENER = "foreign_listener" {
        "No daemon can listen there meanwhile, so each start fails. Clients do not send it anything.",
        "Look at that process. If it has no business at the socket, end it, then start the service.",
        UNPROVEN
    }
    error HELD_BY_ORPHAN = "held_by_orphan" {
        "A process that the daemon started has its descriptors, and with them its lock. No daemon starts while it lives.",
        "Look at that process and end it. A daemon that starts programs should close its descriptors in them.",
        UNPROVEN
    }
    error CRASH_LOOP = "crash_loop" {
        "The daemon fails again and again. After each failure starts are paused, for up to 60 seconds, and clients get the failure.",
        "Correct the cause first. Only then start it.",
        Fix::Leaves("the cause is in the program or in its surroundings")
    }
    warning START_FAILED = "start_failed" {
        "The next client starts it again. From the third failure in a row on, starts are paused.",
        "Correct the cause first. Only then start it.",
        Fix::Leaves("the cause is in the program or in its surroundings")
    }
    warning START_HANGS = "start_hangs" {
        "The process that started it has ended or given up, and the daemon has not begun to serve. Clients wait for it.",
        "Wait if it has much to do at a start. Otherwise stop it, which ends it, and start it again.",
        Fix::Leaves("it may be about to serve")
    }
    note STARTING = "starting" {
        "Clients wait for the end of this start, and get its daemon or its failure.",
        "Wait.",
        PASSES
    }
    warning BUSY = "busy" {
        "Clients wait for it. It lives, so it is neither replaced nor ended for that.",
        "Wait if the machine is loaded. If it hangs, stop it: the kernel says that it is the daemon.",
        Fix::Leaves("it lives, and may be doing work")
    }
    error STOPPED_BY_SIGNAL = "stopped_by_signal" {
        "A stopped process answers nobody. Clients wait for it, and none starts another daemon.",
        "Let it go on, or stop the service, which ends it.",
        Fix::Leaves("a person or a debugger has stopped it")
    }
    error FRONTED_GONE = "fronted_gone" {
        "The front answers probes, and has nothing to pass requests to. It should have ended with the daemon behind it.",
        "Stop the front and start it again, which starts the daemon behind it, too.",
        Fix::Leaves("the front has connections that a stop would end")
    }
    note DRAINING = "draining" {
        "It finishes what it has accepted. Clients wait, and then start the next daemon.",
        "Wait.",
        PASSES
    }
    warning STALE_FILES = "stale_files" {
        "A daemon was killed or has crashed. The next start counts that and replaces the files.",
        "Start the service, or remove them with --fix. The log may say why the daemon ended.",
        Fix::Does("takes the service's lock, notes the end in starts.json and removes the files")
    }
    warning ABANDONED_REPLACEMENT = "abandoned_replacement" {
        "The process that replaced the daemon has ended before the new one took over. Nothing supervises that one.",
        "Wait. If it hangs, the next process that needs its place ends it after the start timeout; a stop does it at once.",
        Fix::Leaves("the new daemon may be about to serve")
    }
    undecided NOT_INSPECTABLE = "not_inspectable" {
        "It may well run. Nothing is started or stopped while that cannot be told.",
        "Run the command as the daemon's user.",
        OUTSIDE
    }
    undecided OTHER_NAMESPACE = "other_namespace" {
        "Its process id means another process here, so it can be neither proven nor stopped from here.",
        "Run the command where the daemon runs, or give each container its own RUNNING_PROCESS_DIR.",
        OUTSIDE
    }
    undecided SANDBOX = "sandbox" {
        "The daemon may be well. This process may not reach it, and starting it again would not help.",
        "Run the command outside the sandbox, or allow the service's directory and Unix sockets in it.",
        OUTSIDE
    }
    undecided PROBES_DISABLED = "probes_disabled" {
        "With RUNNING_PROCESS_DISABLE=1 no daemon is proven, so clients of the service get none.",
        "Unset the variable.",
        Fix::Leaves("it is the caller's environment")
    }
    undecided STATE_UNKNOWN = "state_unknown" {
        "Clients get the same error.",
        "Correct the cause that the error names.",
        OUTSIDE
    }

    // Its places.
    error SECOND_PLACE = "second_place" {
        "Clients with another environment find another daemon: what one of them writes, the others do not see.",
        "Set RUNNING_PROCESS_DIR for all clients or for none, and stop the daemon that is not wanted.",
        CHOICE
    }
    warning SECOND_IDENTITY_FILE = "second_identity_file" {
        "Programs that know only that file use another daemon than the clients of the service.",
        "Stop one of both.",
        CHOICE
    }
    error SOCKET_REMOVED = "socket_removed" {
        "The daemon lives, and no client can connect to it. None starts another one, because it holds the lock.",
        "A daemon makes a removed socket again. If it has not, stop it and start it.",
        Fix::Leaves("the daemon has connections that a stop would end")
    }
    error VANISHED_DIRECTORY = "vanished_directory" {
        "Its daemon lives on, and clients that look for it find none and start another one.",
        "If its work is not needed, end it by naming it.",
        Fix::Ends
    }
    error UNREACHABLE_DAEMON = "unreachable_daemon" {
        "No client can connect to it, and it goes on for ever.",
        "If its work is not needed, end it by naming it.",
        Fix::Ends
    }
    note UNREACHABLE_ELSEWHERE = "unreachable_elsewhere" {
        "Clients of another RUNNING_PROCESS_DIR may know of it.",
        "If nobody needs it, look at it and end it.",
        Fix::Leaves("it is not of the root that this command looks in")
    }
    note LONG_PATH = "long_path" {
        "Cleaners of /tmp and a private /tmp of a service manager part the sockets from the other files.",
        "If that matters, set RUNNING_PROCESS_DIR to a shorter path for all clients.",
        CHOICE
    }
    error NO_PLACE = "no_place" {
        "No daemon can be found or started without a directory for its files.",
        "Correct the directory, or set RUNNING_PROCESS_DIR to another one for the daemon and all of its clients.",
        OF_THE_SYSTEM
    }
    error DIRECTORY_NOT_PRIVATE = "directory_not_private" {
        "Other users may have put a socket or a file there, so the directory is not used.",
        "If all that is in it is yours, make it private. Otherwise move it away.",
        OTHERS_COULD_WRITE
    }
    error DIRECTORY_FOREIGN = "directory_foreign" {
        "Its owner can replace the socket and the identity file, so the directory is not used.",
        "Move it away; the next start makes a new one.",
        OTHERS_COULD_WRITE
    }
    error NOT_A_DIRECTORY = "not_a_directory" {
        "Links are not followed, since another user could choose where they lead.",
        "Move it away; the next start makes a directory.",
        OTHERS_COULD_WRITE
    }
    error READ_ONLY = "read_only" {
        "A start must write its history, the log and the identity file.",
        "Make the file system writable, or set RUNNING_PROCESS_DIR to another one for all clients.",
        OF_THE_SYSTEM
    }
    error DISK_FULL = "disk_full" {
        "A start must write its history, the log and the identity file.",
        "Free some space.",
        OF_THE_SYSTEM
    }
    error NO_SOCKETS = "no_sockets" {
        "A daemon cannot listen there.",
        "Set RUNNING_PROCESS_DIR to a directory on a local file system, for all clients.",
        OF_THE_SYSTEM
    }
    error NO_LOCKS = "no_locks" {
        "Without locks two daemons could run at once, so none is started.",
        "Set RUNNING_PROCESS_DIR to a directory on a local file system, for all clients.",
        OF_THE_SYSTEM
    }

    // Its files.
    error IDENTITY_FILE_NOT_REGULAR = "identity_file_not_regular" {
        "It is not followed or read: it could lead anywhere, or never end.",
        "Move it away. A daemon that runs writes it again, otherwise the next start does.",
        OTHERS_COULD_WRITE
    }
    error IDENTITY_FILE_TOO_LARGE = "identity_file_too_large" {
        "No identity is that large, so it is not read.",
        "Move it away. A daemon that runs writes it again, otherwise the next start does.",
        OTHERS_COULD_WRITE
    }
    error IDENTITY_FILE_MALFORMED = "identity_file_malformed" {
        "It is written as a whole, so another program has written it or the disk has lost a part.",
        "Move it away. A daemon that runs writes it again, otherwise the next start does.",
        OTHERS_COULD_WRITE
    }
    error IDENTITY_FILE_FOREIGN = "identity_file_foreign" {
        "Its owner could name any process as the daemon.",
        "Move it away. A daemon that runs writes it again, otherwise the next start does.",
        OTHERS_COULD_WRITE
    }
    error IDENTITY_FILE_WRITABLE = "identity_file_writable" {
        "Any of them could name another process as the daemon.",
        "Move it away. A daemon that runs writes it again, otherwise the next start does.",
        OTHERS_COULD_WRITE
    }
    error LOCK_UNUSABLE = "lock_unusable" {
        "The lock decides which process is the daemon, so nothing starts without it.",
        "Make sure that no daemon runs, then move the file away; the next start makes a new one.",
        OTHERS_COULD_WRITE
    }
    error NOT_A_SOCKET = "not_a_socket" {
        "A daemon does not remove what it has not made, so it cannot listen there.",
        "Move it away, then start the service.",
        OTHERS_COULD_WRITE
    }
    warning LOG_OVER_LIMIT = "log_over_limit" {
        "The daemon does not use this library, or has no watch left, so its log is bounded only at the next start.",
        "Restart the daemon, or make it write less.",
        Fix::Leaves("the daemon writes to it")
    }
    error ACTIVATION_UNUSABLE = "activation_unusable" {
        "The file says which service manager starts the daemon. Without it, no client starts one.",
        "Install the service again, or remove the file, so that clients start the daemon.",
        OTHERS_COULD_WRITE
    }
    warning ACTIVATION_OFF = "activation_off" {
        "Clients start the daemon themselves while the service manager does not listen.",
        "Enable the unit, or install the service without it.",
        OF_THE_SYSTEM
    }

    // Its program and its file.
    error SERVICE_FILE_INVALID = "service_file_invalid" {
        "The service cannot be started or looked up by it.",
        "Correct the file.",
        Fix::Leaves("only its author knows what it should say")
    }
    error SERVICE_FILE_WRITABLE = "service_file_writable" {
        "Whoever can write it decides what runs under your name at the next start.",
        "Read the file, and make it and its directory yours alone.",
        OTHERS_COULD_WRITE
    }
    error PROGRAM_MISSING = "program_missing" {
        "A daemon that runs goes on; once it ends, none can be started.",
        "Install the program, or name it in `command` by its absolute path.",
        Fix::Leaves("only its author knows what it should say")
    }
    error PROGRAM_NOT_EXECUTABLE = "program_not_executable" {
        "A daemon that runs goes on; once it ends, none can be started.",
        "Let the file be run, or name another program in `command`.",
        Fix::Leaves("whether that file should run is not for this command to decide")
    }
    warning PROGRAM_REPLACED = "program_replaced" {
        "The daemon runs the program as it was. An upgrade takes effect at its next start.",
        "Restart it; a daemon that hands over refuses no client meanwhile.",
        Fix::Leaves("when the daemon may be replaced is not for this command to decide")
    }
    warning TEMPORARY_PROGRAM = "temporary_program" {
        "A cleaner or the next build removes the program, or changes it while the daemon runs.",
        "Install the program, and name that file in `command`.",
        Fix::Leaves("where a program is installed is not for this command to decide")
    }
    warning OTHER_VERSION = "other_version" {
        "Clients may expect what this daemon does not do.",
        "Read the decision; a restart replaces the daemon by what the file names.",
        Fix::Leaves("the next start decides by the service's policy")
    }
    error REPLACEMENT_WAR = "replacement_war" {
        "Clients of several versions replace each other's daemons, or the replacements fail. Further ones are refused for a while.",
        "Use one version in all clients, then restart the daemon once.",
        CHOICE
    }

    // Its end.
    warning ENDS_WITH_TERMINAL = "ends_with_terminal" {
        "When the terminal closes, the daemon ends.",
        "Start it as a service: stop the one in the terminal, then start it.",
        Fix::Leaves("the daemon has connections that a stop would end")
    }
    warning ENDS_WITH_SESSION = "ends_with_session" {
        "When that login ends, the system may end the daemon.",
        "Let the user linger, or start the daemon from a service manager.",
        OF_THE_SYSTEM
    }
    warning ENDS_WITH_USER_MANAGER = "ends_with_user_manager" {
        "With the last login of the user the daemon ends.",
        "Let the user linger.",
        OF_THE_SYSTEM
    }
    note ENDS_WITH_GROUP = "ends_with_group" {
        "A limit of memory on the group, or the end of its unit, ends the daemon.",
        "If the group is that of a build or a session, start the daemon in a scope of its own.",
        OF_THE_SYSTEM
    }
    note ENDS_WITH_CONTAINER = "ends_with_container" {
        "With the container the daemon ends.",
        "Nothing, if clients are in the same container.",
        OF_THE_SYSTEM
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let ids: BTreeSet<_> = ALL.iter().map(|kind| kind.id).collect();
        assert_eq!(ids.len(), ALL.len());
    }

    #[test]
    fn the_document_has_a_section_for_each_kind_and_no_other() {
        let page = include_str!("../../../docs/troubleshooting.md");
        let sections: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        assert_eq!(sections, ALL.iter().map(|kind| kind.id).collect());
        for link in page.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(sections.contains(link), "{link}");
        }
    }

    #[test]
    fn each_kind_is_made_for_real_by_a_test() {
        let tests = [
            include_str!("../../../tests/command/doctor/ending.rs"),
            include_str!("../../../tests/command/doctor/files.rs"),
            include_str!("../../../tests/command/doctor/leftovers.rs"),
            include_str!("../../../tests/command/doctor/other_process.rs"),
            include_str!("../../../tests/command/doctor/place.rs"),
            include_str!("../../../tests/command/doctor/program.rs"),
            include_str!("../../../tests/command/doctor/sandbox.rs"),
            include_str!("../../../tests/command/doctor/sockets.rs"),
            include_str!("../../../tests/command/doctor/start.rs"),
            include_str!("../../../tests/command/doctor/untold.rs"),
        ];
        let is_named = |kind: &Kind| tests.iter().any(|test| test.contains(&format!("\"{}\"", kind.id)));
        let missing: Vec<_> = ALL.iter().filter(|kind| !is_named(kind)).map(|kind| kind.id).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
