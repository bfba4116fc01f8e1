//! `survey`: what runs, at one look.
use std::path::PathBuf;

use minidock_core::supervisor;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::error::detached;

/// All pid files of a run root; see the stub.
#[pyfunction]
pub fn survey<'py>(
    py: Python<'py>,
    directory: PathBuf,
    boot_id: &str,
    inits: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let found = detached(py, |_| supervisor::survey(&directory, boot_id, inits))?;
    let all = PyDict::new(py);
    for one in found {
        let text = PyBytes::new(py, &one.text);
        all.set_item(one.name, (text, one.supervisor, one.init, one.paused))?;
    }
    Ok(all)
}
