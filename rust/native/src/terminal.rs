//! The user's terminal: raw mode and window size.
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use minidock_core::{Context, Error, sys};
use pyo3::prelude::*;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{invalid, raise};

/// The settings of a terminal as they were before [`raw_mode`]; restored once, at the latest when this is dropped.
#[pyclass(frozen, module = "minidock._native")]
pub struct RawMode {
    saved: Mutex<Option<(OwnedFd, Termios)>>,
}

impl RawMode {
    fn put_back(&self) -> Result<(), Error> {
        let saved = self
            .saved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some((terminal, settings)) = saved else {
            return Ok(());
        };
        loop {
            // DRAIN: what the container wrote last is shown in the mode that it was written for.
            match tcsetattr(&terminal, OptionalActions::Drain, &settings) {
                Err(Errno::INTR) => {}
                // The terminal has gone: nothing is left to restore.
                Err(Errno::IO | Errno::NOTTY) => return Ok(()),
                done => return done.context("restore terminal", String::new),
            }
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = self.put_back();
    }
}

#[pymethods]
impl RawMode {
    fn restore(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.put_back()).map_err(|e| raise(&e))
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _exception: &Bound<'_, pyo3::types::PyTuple>,
    ) -> PyResult<()> {
        self.restore(py)
    }
}

/// A descriptor of the caller as one of our own, so that a `close` elsewhere cannot redirect it.
pub fn duplicate(op: &'static str, fd: i32) -> PyResult<OwnedFd> {
    if fd < 0 {
        return Err(invalid(op, fd.to_string(), "not a descriptor"));
    }
    fcntl_dupfd_cloexec(sys::borrow_fd(fd), 10)
        .context(op, || format!("descriptor {fd}"))
        .map_err(|e| raise(&e))
}

/// Puts a terminal into raw mode; see the stub.
#[pyfunction]
pub fn raw_mode(py: Python<'_>, fd: i32) -> PyResult<RawMode> {
    let terminal = duplicate("set terminal to raw mode", fd)?;
    py.detach(|| {
        let saved = tcgetattr(&terminal)?;
        let mut raw = saved.clone();
        raw.make_raw();
        while let Err(error) = tcsetattr(&terminal, OptionalActions::Now, &raw) {
            if error != Errno::INTR {
                return Err(error);
            }
        }
        Ok(RawMode {
            saved: Mutex::new(Some((terminal, saved))),
        })
    })
    .context("set terminal to raw mode", || format!("descriptor {fd}"))
    .map_err(|e| raise(&e))
}

/// Rows and columns of a terminal; see the stub.
#[pyfunction]
pub fn window_size(fd: i32) -> PyResult<(u16, u16)> {
    let terminal = duplicate("read window size", fd)?;
    let size = tcgetwinsize(terminal.as_fd())
        .context("read window size", || format!("descriptor {fd}"))
        .map_err(|e| raise(&e))?;
    Ok((size.ws_row, size.ws_col))
}
