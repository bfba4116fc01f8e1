//! The memory of a process that serves.
use pyo3::prelude::*;

/// Lets all threads of this process share one heap; call it before there are any.
#[pyfunction]
pub fn share_heap() {
    minidock_core::sys::share_heap();
}
