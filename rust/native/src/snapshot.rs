//! Whether overlayfs works on a data root.
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::error::raise;

/// Tries an overlay of three directories; see the stub.
#[pyfunction]
pub fn probe_overlay(
    py: Python<'_>,
    lower: PathBuf,
    upper: PathBuf,
    work: PathBuf,
) -> PyResult<()> {
    py.detach(|| minidock_core::snapshot::probe_overlay(&lower, &upper, &work))
        .map_err(|e| raise(&e))
}
