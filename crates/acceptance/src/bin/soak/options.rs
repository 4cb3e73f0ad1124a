//! The command line of the coordinator.

use std::process::exit;
use std::time::Duration;

const HELP: &str = "usage: soak DURATION [--seed N] [--rate N] [--patience SECONDS] [--drain SECONDS] [--settle SECONDS] [--fault NAME=N] [--first] [--directory DIR]

Runs clients of every kind, hostile peers, replacements and kills against real daemons, and checks each answer.

DURATION     hours, or seconds with `s`: 1, 0.5, 30s
--seed       repeats the choices of a run (default: the clock)
--rate       requests a second over all clients (default: 600)
--patience   seconds after which a request without an answer is lost (default: 60)
--drain      seconds that a daemon of the service has for its connections once it was replaced (default: 5)
--fault      a mistake of the daemons, which the run must find; N is how many requests or connections it takes once:
             drop, wrong, twice, rerun, refuse, panic, descriptor, memory
--settle     seconds after which a server has closed what its clients have left (default: 60)
--first      ends the run at the first violation
--directory  where the run has its files, in a directory that it removes (default: the system's)";

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) rate: u64,
    pub(crate) patience: Duration,
    pub(crate) drain: Duration,
    pub(crate) settle: Duration,
    /// Ends at the first violation.
    pub(crate) first: bool,
    /// A mistake of the daemons; empty for none.
    pub(crate) fault: String,
    pub(crate) directory: Option<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Self {
        parse(arguments).unwrap_or_else(|error| {
            eprintln!("{error}\n{HELP}");
            exit(2)
        })
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut words = arguments.iter();
    let duration = words.next().filter(|word| *word != "--help").ok_or("a long run of everything at once")?;
    let mut options = Options {
        duration: duration_of(duration).ok_or_else(|| format!("{duration} is no duration"))?,
        seed: crate::journal::now() % 1_000_000,
        rate: 600,
        patience: Duration::from_mins(1),
        drain: Duration::from_secs(5),
        settle: Duration::from_mins(1),
        first: false,
        fault: String::new(),
        directory: None,
    };
    while let Some(name) = words.next() {
        if name == "--first" {
            options.first = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{name} needs a number, not {value}"));
        match name.as_str() {
            "--seed" => options.seed = number()?,
            "--rate" => options.rate = number()?.max(1),
            "--patience" => options.patience = Duration::from_secs(number()?),
            "--drain" => options.drain = Duration::from_secs(number()?),
            "--settle" => options.settle = Duration::from_secs(number()?),
            "--fault" => options.fault.clone_from(value),
            "--directory" => options.directory = Some(value.clone()),
            _ => return Err(format!("{name} is no option")),
        }
    }
    Ok(options)
}

fn duration_of(text: &str) -> Option<Duration> {
    let (number, unit) = text.strip_suffix('s').map_or((text, 3600.0), |seconds| (seconds, 1.0));
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok().filter(|time| !time.is_zero())
}
