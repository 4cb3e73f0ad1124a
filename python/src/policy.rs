//! Policies by name.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use running_process::broker::backend_lifecycle::verify::Policy;

/// Returns the policy `name`.
///
/// # Errors
///
/// `ValueError`: there is none of that name.
pub(crate) fn policy(name: &str) -> PyResult<Policy> {
    match name {
        "default" => Ok(Policy::default()),
        "strict" => Ok(Policy::strict()),
        "lenient" => Ok(Policy::lenient()),
        _ => {
            let message = format!("policy is {name:?}, and must be \"default\", \"strict\" or \"lenient\"");
            Err(PyValueError::new_err(message))
        }
    }
}
