//! The switch that turns probes and frames off.

/// Name of the environment variable that, set to `1`, makes a client skip probes and frames and use the daemon's legacy path.
pub const DISABLE_VARIABLE: &str = "RUNNING_PROCESS_DISABLE";

/// Returns whether the environment of this process asks for the legacy path.
#[cfg(feature = "host")]
#[must_use]
pub fn is_disabled() -> bool {
    std::env::var_os(DISABLE_VARIABLE).is_some_and(|value| value == "1")
}

#[cfg(test)]
#[cfg(feature = "host")]
mod tests {
    use super::*;
    use crate::own_process;

    #[test]
    #[ignore = "started by the next test with values of the variable"]
    fn puppet_that_is_disabled() {
        assert!(is_disabled());
    }

    #[test]
    fn only_the_value_one_disables() {
        for (value, expected) in
            [(Some("1"), "1 passed"), (Some("0"), "1 failed"), (Some("11"), "1 failed"), (None, "1 failed")]
        {
            let mut command = own_process::command(puppet_that_is_disabled);
            command.env_remove(DISABLE_VARIABLE);
            command.envs(value.map(|value| (DISABLE_VARIABLE, value)));
            let output = command.output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(printed.contains(expected), "{value:?}: {printed}");
        }
    }
}
