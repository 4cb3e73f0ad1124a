//! A caller in a process of its own, whose system calls, memory and descriptors can be counted:
//! `prober IDENTITY [POLICY] [WORD=NUMBER]...`.
//!
//! POLICY is `default`, `strict` or `lenient`. It prints every outcome with its count, and the costs.

#![allow(clippy::unwrap_used, reason = "part of a test: a failure is to be seen")]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
mod linux {
    use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
    use running_process::broker::backend_lifecycle::probe::ProbeError;
    use running_process::broker::backend_lifecycle::verify::{Policy, Proof};
    use running_process::broker::backend_sdk::try_read_daemon_identity_file;
    use running_process_acceptance::wire::SHOUT;
    use running_process_acceptance::{Driver, SECRET, TOKEN};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::collections::{BTreeMap, HashMap};
    use std::path::Path;
    use std::time::{Duration, Instant};

    pub(super) fn main() {
        let mut arguments = std::env::args().skip(1);
        let identity_file = arguments.next().expect("usage: prober IDENTITY [POLICY] [WORD=NUMBER]...");
        let identity = try_read_daemon_identity_file(Path::new(&identity_file)).unwrap().unwrap();
        let mut policy = Policy::default();
        let mut numbers: HashMap<String, u64> = HashMap::new();
        for word in arguments {
            match word.split_once('=') {
                Some((word, number)) => drop(numbers.insert(word.to_owned(), number.parse().unwrap())),
                None if word == "default" => {}
                None if word == "strict" => policy = Policy::strict(),
                None if word == "lenient" => policy = Policy::lenient(),
                None => panic!("{word} is no policy"),
            }
        }
        let number = |word: &str, otherwise| numbers.get(word).copied().unwrap_or(otherwise);
        policy.only_credentials = number("credentials", 0) == 1;
        let deadline = Duration::from_millis(number("deadline", 10_000));
        let patience = Duration::from_millis(number("patience", 10_000));
        let times = number("times", 1);
        let marks = number("marks", 0) == 1;
        let driver = if number("tokio", 0) == 1 { Driver::Tokio } else { Driver::Blocking };
        driver.prepare();
        let before = Cost::now();
        if let Some(most) = numbers.get("descriptors") {
            let hard = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current: Some(*most), maximum: hard }).unwrap();
        }
        if marks {
            // A mark for the trace of system calls.
            eprintln!("<begin>");
        }
        let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..times {
            let deadline = Instant::now() + deadline;
            let verified = driver.verify(&identity, policy.clone(), deadline);
            if marks {
                eprintln!("<end>");
            }
            *outcomes.entry(outcome(verified, &identity, patience)).or_default() += 1;
        }
        if numbers.contains_key("descriptors") {
            // They must be opened to be counted.
            let hard = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
        }
        let after = Cost::now();
        for (outcome, times) in outcomes {
            println!("{times} times {outcome}");
        }
        println!("descriptors {} {}", before.descriptors, after.descriptors);
        println!("threads {} {}", before.threads, after.threads);
        println!("peak KiB {}", after.peak);
        println!("bytes {}", after.read - before.read);
    }

    /// Returns the outcome of a proof, and of a request that waits for `patience` at most.
    fn outcome(
        verified: Result<BackendHandle, ProbeError>,
        identity: &DaemonProcess,
        patience: Duration,
    ) -> String {
        let handle = match verified {
            Ok(handle) => handle,
            Err(error) => return format!("refused {error:?}"),
        };
        let Proof { level, listener, image, with_origin, .. } = handle.proof().clone();
        let proof = format!("{level:?} {listener:?} {image:?} origin={with_origin}");
        // Some of the daemons do not serve, but no other process may serve in their place.
        let mut client = handle.into_client();
        client.set_timeout(Some(patience));
        match client.request(SHOUT, SECRET.to_vec()) {
            Ok(reply) if !reply.payload.starts_with(TOKEN.as_bytes()) => {
                format!("fooled by another than {}: {:?}", identity.pid, reply.payload)
            }
            Ok(_) => format!("served {proof}"),
            Err(_) => format!("accepted {proof}"),
        }
    }

    struct Cost {
        descriptors: usize,
        threads: usize,
        /// Peak memory, in KiB.
        peak: u64,
        /// Number of bytes read from files and sockets.
        read: u64,
    }

    impl Cost {
        fn now() -> Self {
            let entries = |directory| std::fs::read_dir(directory).unwrap().count();
            Self {
                descriptors: entries("/proc/self/fd"),
                threads: entries("/proc/self/task"),
                peak: number_in("/proc/self/status", "VmHWM:"),
                read: number_in("/proc/self/io", "rchar:"),
            }
        }
    }

    fn number_in(file: &str, name: &str) -> u64 {
        let text = std::fs::read_to_string(file).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}
