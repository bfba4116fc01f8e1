//! The single conversion of Rust errors into a Python exception.
use minidock_core::Error;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(minidock._native, NativeError, PyException);

/// `NativeError(text, kind, op, subject, errno)`.
pub fn raise(error: &Error) -> PyErr {
    NativeError::new_err((
        error.to_string(),
        error.kind.name(),
        error.op,
        error.subject.clone(),
        error.errno,
    ))
}
