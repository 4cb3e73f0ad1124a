//! One call of a client.

use crate::report::{ensured, found, restarted, stopped};
use running_process::Service;
use running_process::broker::service::{Deadline, Replacement, UpgradePolicy};
use rustix::process::{WaitOptions, wait};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The words of the command line.
#[allow(clippy::struct_excessive_bools, reason = "each is a word")]
struct Options {
    service: Service,
    timeout: Duration,
    /// The call begins when the standard input ends.
    waits: bool,
    /// The client lives on until its standard input ends.
    stays: bool,
    /// The calls are those for tokio.
    asynchronous: bool,
    /// The client has a child of its own, and waits for any child.
    has_child: bool,
    /// Number of calls. The time between two of them varies.
    calls: u64,
    request: Vec<u8>,
    /// The way of a restart.
    by: Replacement,
}

impl Options {
    fn parse(words: &[OsString]) -> Self {
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let value = |name: &str| {
            words[..end].iter().find_map(|word| {
                let value = word.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                Some(OsString::from_vec(value.to_vec()))
            })
        };
        let text = |name: &str| value(name).map(|value| value.into_string().unwrap());
        let millis = |name: &str| text(name).map(|ms| Duration::from_millis(ms.parse().unwrap()));
        let is_set = |name: &str| value(name).is_some();

        let mut service = Service::new(text("name").unwrap()).unwrap();
        if let Some(root) = value("root") {
            service = service.below(root);
        }
        if let Some(key) = value("key") {
            service = service.keyed_by(key);
        }
        if let Some(timeout) = millis("start_timeout") {
            service = service.start_timeout(timeout);
        }
        if let Some(limit) = text("log_limit") {
            service = service.log_limit(limit.parse().unwrap());
        }
        if let Some(directory) = value("directory") {
            service = service.working_directory(directory);
        }
        if let Some(variable) = text("set") {
            let (name, value) = variable.split_once('=').unwrap();
            service = service.environment_variable(name, value);
        }
        if let Some(idle) = value("idle") {
            service = service.environment_variable("IDLE_MS", idle);
        }
        if let Some(version) = text("version") {
            // The daemon has the version of the client that starts it.
            service = service.environment_variable("VERSION", &version).version(version);
        }
        if let Some(policy) = text("upgrade") {
            service = service.upgrade_policy(upgrade_policy(&policy));
        }
        if is_set("scope") {
            service = service.in_own_scope();
        }
        if is_set("inherit") {
            service = service.inherit_environment();
        }
        if let Some([program, arguments @ ..]) = words.get(end + 1..) {
            service = service.command(program, arguments.iter().cloned());
        }
        Self {
            service,
            timeout: millis("timeout").unwrap_or(Duration::from_secs(15)),
            waits: is_set("waits"),
            stays: is_set("stays"),
            asynchronous: is_set("tokio"),
            has_child: is_set("child"),
            calls: text("calls").map_or(1, |calls| calls.parse().unwrap()),
            request: value("request").unwrap_or_default().into_vec(),
            by: if is_set("stop_first") { Replacement::StopThenStart } else { Replacement::Handover },
        }
    }
}

/// Returns the policy of these words with `+` between them: `newer`, `own`, `never`, `handover`, `stop`, `bound=COUNT/MS`.
fn upgrade_policy(words: &str) -> UpgradePolicy {
    words.split('+').fold(UpgradePolicy::newer_replaces(), |policy, word| match word {
        "newer" => policy,
        "own" => UpgradePolicy::own_version(),
        "never" => UpgradePolicy::never(),
        "handover" => policy.by(Replacement::Handover),
        "stop" => policy.by(Replacement::StopThenStart),
        word => {
            let (count, millis) =
                word.strip_prefix("bound=").and_then(|bound| bound.split_once('/')).unwrap();
            policy.bound(count.parse().unwrap(), Duration::from_millis(millis.parse().unwrap()))
        }
    })
}

/// Makes the call that `verb` names, and prints its result.
pub(crate) fn run(verb: &[u8], words: &[OsString]) {
    let options = Options::parse(words);
    let child = options.has_child.then(OwnChild::start);
    if options.waits {
        println!("waits");
        to_the_end_of_input();
    }
    let (began, cpu_before) = (Instant::now(), cpu_time());
    let mut result = call(OsStr::from_bytes(verb), &options);
    for number in 1..options.calls {
        if !result["error"].is_null() || !result["left_by"].is_null() {
            break;
        }
        thread::sleep(Duration::from_millis(number * 7 % 30));
        result = call(OsStr::from_bytes(verb), &options);
        result["calls"] = json!(number + 1);
    }
    let elapsed = began.elapsed();
    let cpu = cpu_time();
    let numbers = [
        ("ms", json!(elapsed.as_millis())),
        ("call_cpu_us", json!(cpu.saturating_sub(cpu_before).as_micros())),
        ("cpu_us", json!(cpu.as_micros())),
        ("client", json!(std::process::id())),
    ];
    let fields = result.as_object_mut().unwrap();
    fields.extend(numbers.map(|(name, number)| (name.to_owned(), number)));
    if let Some(child) = child {
        fields.extend(child.end());
    }
    println!("{result}");
    std::io::stdout().flush().unwrap();
    if options.stays {
        to_the_end_of_input();
    }
}

/// Makes the call, and asks once more for a daemon if the first one ends before it answers.
fn call(verb: &OsStr, options: &Options) -> Value {
    let first = call_once(verb, options);
    if first["error"] != "Request" {
        return first;
    }
    let mut second = call_once(verb, options);
    second["left_by"] = first["pid"].clone();
    second
}

fn call_once(verb: &OsStr, options: &Options) -> Value {
    let (service, deadline) = (&options.service, Deadline::after(options.timeout));
    if options.asynchronous {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(async {
            match verb.as_bytes() {
                b"ensure" => ensured(service.ensure_async(deadline).await, &options.request),
                b"find" => found(service.find_async(deadline).await),
                b"stop" => stopped(service.stop_async(deadline).await),
                _ => panic!("{}", verb.display()),
            }
        });
    }
    match verb.as_bytes() {
        b"ensure" => ensured(service.ensure(deadline), &options.request),
        b"find" => found(service.find(deadline)),
        b"stop" => stopped(service.stop(deadline)),
        b"restart" => {
            let mut steps = Vec::new();
            let outcome = service.restart_by(options.by, deadline, &mut |step| steps.push(step.to_string()));
            restarted(outcome, &steps, &options.request)
        }
        _ => panic!("{}", verb.display()),
    }
}

fn to_the_end_of_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Returns the processor time of this process so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// A child of the client's own, and a thread that waits for any child, as shells and job runners do.
struct OwnChild {
    pid: u32,
    input: std::process::ChildStdin,
    reaped: thread::JoinHandle<Vec<i32>>,
}

impl OwnChild {
    fn start() -> Self {
        #[allow(clippy::zombie_processes, reason = "the thread waits for it")]
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (pid, input) = (child.id(), child.stdin.take().unwrap());
        let reaped = thread::spawn(|| {
            let mut reaped = Vec::new();
            while let Ok(Some((pid, _))) = wait(WaitOptions::empty()) {
                reaped.push(pid.as_raw_nonzero().get());
            }
            reaped
        });
        Self { pid, input, reaped }
    }

    /// Lets the child end, and returns its pid and those that the thread got.
    fn end(self) -> [(String, Value); 2] {
        drop(self.input);
        let reaped = self.reaped.join().unwrap();
        [("own_child".to_owned(), json!(self.pid)), ("reaped".to_owned(), json!(reaped))]
    }
}
