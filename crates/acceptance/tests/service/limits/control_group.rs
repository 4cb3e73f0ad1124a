//! A control group for the processes of a test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A group of processes with a limit.
pub(super) struct ControlGroup {
    directory: PathBuf,
}

impl ControlGroup {
    /// Returns a group below that of the controller, `None` if this process cannot make one, which it prints. `limit` is the name of
    /// the file of the limit, in the first version and in the second.
    pub(super) fn new(controller: &str, limit: [&str; 2], value: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("running-process-test-{}-{number}", std::process::id());
        let all = Path::new("/sys/fs/cgroup");
        let tried = [(all.join(controller), limit[0]), (all.to_owned(), limit[1])].map(|(parent, file)| {
            let directory = parent.join(&name);
            fs::create_dir(&directory)?;
            let group = Self { directory };
            // The controller may be none of this hierarchy's.
            fs::File::options().write(true).open(group.path(file)).map(drop)?;
            fs::write(group.path(file), value).map(|()| group)
        });
        let failed: Vec<io::Error> = match tried {
            [Ok(group), _] | [_, Ok(group)] => return Some(group),
            [first, second] => [first, second].into_iter().filter_map(Result::err).collect(),
        };
        eprintln!("skipped: no control group can be made for {controller}: {failed:?}");
        None
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Returns the words that start a program in the group.
    pub(super) fn starter(&self) -> Vec<String> {
        let script = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        ["sh", "-c", script, self.directory.to_str().unwrap()].map(str::to_owned).to_vec()
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Its last process may not have left it: then the system keeps an empty directory until it starts again.
        for _ in 0..100 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
