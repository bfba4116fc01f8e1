//! Whether overlayfs works on a data root; layers as one read-only tree.
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use minidock_core::layer::dir;
use minidock_core::rootfs::view;
use minidock_core::{Context, Error, Kind};
use pyo3::prelude::*;

use crate::error::{invalid, raise};

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

/// Layers mounted as one tree, at no place or at one; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct OverlayMount {
    state: Mutex<State>,
}

struct State {
    /// None: closed.
    open: Option<Open>,
    attached: bool,
}

struct Open {
    /// Its end is that of a mount at no place.
    mount: OwnedFd,
    /// The top, for reading.
    top: OwnedFd,
}

impl OverlayMount {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> PyErr {
    invalid("use mount of layers", "", "it is closed")
}

#[pymethods]
impl OverlayMount {
    #[new]
    fn new(py: Python<'_>, lower: Vec<PathBuf>) -> PyResult<Self> {
        let open = py.detach(|| {
            let mount = view::view(lower)?;
            let top = dir::open_list(mount.as_fd(), ".").context("open", || "layers")?;
            Ok(Open { mount, top })
        });
        let state = State {
            open: Some(open.map_err(|e: Error| raise(&e))?),
            attached: false,
        };
        Ok(Self {
            state: Mutex::new(state),
        })
    }

    #[getter]
    fn fd(&self) -> PyResult<i32> {
        let state = self.state();
        let open = state.open.as_ref().ok_or_else(closed)?;
        Ok(open.top.as_raw_fd())
    }

    fn attach(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| {
            let mut state = self.state();
            let Some(open) = &state.open else {
                return Ok(false);
            };
            if state.attached {
                let why = "these layers are mounted at a place already";
                return Err(Error::new(
                    Kind::Conflict,
                    "mount on",
                    path.display().to_string(),
                    why,
                ));
            }
            view::attach(&open.mount, &path)?;
            state.attached = true;
            Ok(true)
        })
        .map_err(|e| raise(&e))?
        .then_some(())
        .ok_or_else(closed)
    }

    fn close(&self, py: Python<'_>) {
        let open = self.state().open.take();
        py.detach(|| drop(open));
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.close(py);
    }
}

/// Unmounts a directory of the host; see the stub.
#[pyfunction]
pub fn unmount(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    py.detach(|| view::unmount(&path)).map_err(|e| raise(&e))
}
