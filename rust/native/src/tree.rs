//! Directory trees: removal and copies.
use std::path::PathBuf;

use minidock_core::layer::{self, Control};
use minidock_core::{Context, Error, Kind};
use pyo3::prelude::*;

use crate::error::{invalid, raise};
use crate::layer::{Progress, control, id_map, interruptible, open_directory};

/// Deletes a tree; see the stub.
#[pyfunction]
#[pyo3(signature = (path, dev=None, ino=None))]
pub fn remove_tree(
    py: Python<'_>,
    path: PathBuf,
    dev: Option<u64>,
    ino: Option<u64>,
) -> PyResult<u64> {
    let identity = match (dev, ino) {
        (Some(dev), Some(ino)) => Some((dev, ino)),
        (None, None) => None,
        _ => {
            return Err(invalid(
                "remove",
                path.display().to_string(),
                "dev and ino come together",
            ));
        }
    };
    // Most writable layers are empty: no thread for those.
    let quick = py
        .detach(|| layer::remove_empty(&path, identity))
        .map_err(|e| raise(&e))?;
    if let Some(removed) = quick {
        return Ok(removed.count);
    }
    let control = Control::default();
    interruptible(py, &control, || {
        layer::remove_tree(&path, identity, &control)
    })
    .map(|removed| removed.count)
}

/// Copies a tree; see the stub.
#[pyfunction]
#[pyo3(signature = (source, target, *, merge=false, idmap=None, progress=None))]
pub fn copy_tree(
    py: Python<'_>,
    source: PathBuf,
    target: PathBuf,
    merge: bool,
    idmap: Option<&Bound<'_, PyAny>>,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<u64> {
    let map = id_map(idmap)?;
    let control = control(progress);
    let copied = interruptible(py, &control, || {
        let (from, to) = (open_directory(&source)?, open_directory(&target)?);
        let subject = || target.display().to_string();
        if !merge
            && !layer::dir::list(&to, 1)
                .context("read", subject)?
                .is_empty()
        {
            return Err(Error::new(
                Kind::Conflict,
                "copy",
                subject(),
                "the directory to copy into is not empty",
            ));
        }
        layer::copy_tree(from, to, &map, &control)
    });
    Ok(copied?.count)
}
