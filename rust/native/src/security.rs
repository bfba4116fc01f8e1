//! Seccomp filters for Python.
use minidock_core::security::seccomp::{COMPILER_VERSION, Target, compile_json};
use minidock_core::{Error, Kind};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::raise;

/// Version of the filter compiler; part of the key of stored filters.
pub const SECCOMP_COMPILER: u32 = COMPILER_VERSION;

/// The stored form of the filter for a `linux.seccomp` document.
#[pyfunction]
pub fn seccomp_compile<'py>(
    py: Python<'py>,
    profile: &[u8],
    machine: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let compile = || {
        let target = Target::from_name(machine).ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "compile seccomp profile",
                machine,
                "unknown machine",
            )
        })?;
        Ok(compile_json(profile, target)?.to_bytes())
    };
    let bytes = py.detach(compile).map_err(|e: Error| raise(&e))?;
    Ok(PyBytes::new(py, &bytes))
}
