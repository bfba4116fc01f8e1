//! The single conversion of Rust errors into a Python exception.
use minidock_core::{Error, Kind, supervisor};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(minidock._native, NativeError, PyException);
create_exception!(minidock._native, SupervisorGone, NativeError);

/// `NativeError(text, kind, op, subject, errno)`, or its subclass for a supervisor that ended without a word.
pub fn raise(error: &Error) -> PyErr {
    let args = (
        error.to_string(),
        error.kind.name(),
        error.op,
        error.subject.clone(),
        error.errno,
    );
    if error.op == supervisor::GONE {
        SupervisorGone::new_err(args)
    } else {
        NativeError::new_err(args)
    }
}

/// An error of this boundary itself: a value that makes no sense.
pub fn invalid(op: &'static str, subject: impl Into<String>, why: &str) -> PyErr {
    raise(&Error::new(Kind::Invalid, op, subject, why))
}

/// Runs `work` without the GIL. It gets a function to call when a wait was interrupted, which runs Python's signal
/// handlers; what they raise replaces the error that `work` then returns.
pub fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> minidock_core::Result<T> + Send,
) -> PyResult<T> {
    let mut raised: Option<PyErr> = None;
    let result = py.detach(|| {
        work(&mut || {
            raised = Python::attach(|py| py.check_signals()).err();
            raised.is_some()
        })
    });
    match (result, raised) {
        (Ok(value), None) => Ok(value),
        (_, Some(raised)) => Err(raised),
        (Err(error), None) => Err(raise(&error)),
    }
}
