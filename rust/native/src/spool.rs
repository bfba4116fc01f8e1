//! Downloads that are unpacked as they come.
use std::sync::Arc;

use minidock_core::layer;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::raise;
use crate::terminal::duplicate;

/// A file that one thread fills while others read it; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct Spool {
    pub inner: Arc<layer::Spool>,
}

#[pymethods]
impl Spool {
    #[new]
    #[pyo3(signature = (fd, size=0))]
    fn new(py: Python<'_>, fd: i32, size: u64) -> PyResult<Self> {
        let file = duplicate("spool", fd)?;
        let inner = py
            .detach(|| layer::Spool::new(file, size))
            .map_err(|e| raise(&e))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            let bytes = bytes.as_bytes();
            return py.detach(|| self.inner.write(bytes)).map_err(|e| raise(&e));
        }
        // Other threads may change it meanwhile: it is copied while they cannot.
        let bytes = PyBuffer::<u8>::get(data)?.to_vec(py)?;
        py.detach(|| self.inner.write(&bytes))
            .map_err(|e| raise(&e))
    }

    fn finish(&self) {
        self.inner.finish();
    }

    fn fail(&self) {
        self.inner.fail();
    }

    #[getter]
    fn size(&self) -> u64 {
        self.inner.size()
    }
}
