//! Volumes: what they start with, what is mounted on them, and how large they may become.
use std::path::PathBuf;

use minidock_core::{layer, volume};
use pyo3::prelude::*;

use crate::error::raise;
use crate::layer::{Progress, control, interruptible, open_directory};

/// Copies part of an image into a directory; see the stub.
#[pyfunction]
#[pyo3(signature = (lower, path, target, *, progress=None))]
pub fn volume_fill(
    py: Python<'_>,
    lower: Vec<PathBuf>,
    path: PathBuf,
    target: PathBuf,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<Option<u64>> {
    let control = control(progress);
    let filled = interruptible(py, &control, || {
        layer::fill::fill(lower, &path, open_directory(&target)?, &control)
    });
    Ok(filled?.map(|copied| copied.count))
}

/// Mounts on a volume's directory; see the stub.
#[pyfunction]
#[pyo3(signature = (target, *, r#type, device, options))]
pub fn volume_mount(
    py: Python<'_>,
    target: PathBuf,
    r#type: &str,
    device: &str,
    options: &str,
) -> PyResult<u64> {
    py.detach(|| volume::mount(&target, r#type, device, options))
        .map_err(|e| raise(&e))
}

/// Takes such a mount away; see the stub.
#[pyfunction]
pub fn volume_unmount(py: Python<'_>, target: PathBuf) -> PyResult<bool> {
    py.detach(|| volume::unmount(&target))
        .map_err(|e| raise(&e))
}

/// Limits the size of a directory; see the stub.
#[pyfunction]
#[pyo3(signature = (directory, size_bytes, renamed=false))]
pub fn quota_set(
    py: Python<'_>,
    directory: PathBuf,
    size_bytes: u64,
    renamed: bool,
) -> PyResult<()> {
    py.detach(|| volume::set_quota(&directory, size_bytes, renamed))
        .map_err(|e| raise(&e))
}
