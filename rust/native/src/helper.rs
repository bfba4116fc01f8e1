//! `HelperFile`: the helper's executable, protected from the containers that it starts.
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use minidock_core::supervisor::Helper;
use pyo3::prelude::*;

use crate::error::{detached, invalid};

/// An opened helper; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct HelperFile {
    helper: Mutex<Option<Arc<Helper>>>,
}

impl HelperFile {
    /// The helper, kept open by the caller's share of it whatever another thread closes.
    pub fn get(&self) -> PyResult<Arc<Helper>> {
        let helper = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        helper
            .clone()
            .ok_or_else(|| invalid("use helper", "", "it is closed"))
    }
}

#[pymethods]
impl HelperFile {
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.get()?.as_fd().as_raw_fd())
    }

    fn close(&self) {
        self.helper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.close();
    }
}

/// Opens the helper at `path`; see the stub.
#[pyfunction]
pub fn open_helper(py: Python<'_>, path: PathBuf) -> PyResult<HelperFile> {
    let helper = detached(py, |_| Helper::open(&path))?;
    Ok(HelperFile {
        helper: Mutex::new(Some(Arc::new(helper))),
    })
}
