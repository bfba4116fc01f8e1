//! Events: appended to a data root's `events` directory, and read there.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use minidock_core::events::{self, Batch, Event, Range, Reader};
use minidock_core::stop::Stop;
use minidock_core::{Context, Error};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::error::{detached, invalid, raise};

/// Appends one event; see the stub.
#[pyfunction]
pub fn event_append(
    py: Python<'_>,
    dir: PathBuf,
    kind: &str,
    action: &str,
    id: &str,
    attributes: BTreeMap<String, String>,
) -> PyResult<()> {
    py.detach(|| {
        let event = Event {
            kind,
            action,
            id,
            attributes: &attributes,
        };
        events::append(&dir, &event)
    })
    .map_err(|e| raise(&e))
}

/// A place among the events of a directory; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct EventReader {
    /// None: closed.
    reader: Mutex<Option<Reader>>,
    /// Taken by the one who closes: it is a descriptor, and the object may live on.
    stop: Mutex<Option<Arc<Stop>>>,
}

impl EventReader {
    fn stop(&self) -> Option<Arc<Stop>> {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        stop.clone()
    }
}

#[pymethods]
impl EventReader {
    #[new]
    #[pyo3(signature = (dir, since=None, until=None, *, follow=false))]
    fn new(
        py: Python<'_>,
        dir: PathBuf,
        since: Option<u64>,
        until: Option<u64>,
        follow: bool,
    ) -> PyResult<Self> {
        let range = Range {
            since,
            until,
            follow,
        };
        py.detach(|| {
            Ok(Self {
                reader: Mutex::new(Some(Reader::new(&dir, range)?)),
                stop: Mutex::new(Some(Arc::new(
                    Stop::new().context("open events", || dir.display().to_string())?,
                ))),
            })
        })
        .map_err(|e: Error| raise(&e))
    }

    #[pyo3(signature = (timeout=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let why = "a timeout is a number of seconds from 0";
        let until = match timeout.map(Duration::try_from_secs_f64) {
            None => None,
            // Further away than clocks go.
            Some(Err(_)) if timeout.is_some_and(|seconds| seconds > 0.0) => None,
            Some(Err(_)) => return Err(invalid("read events", "", why)),
            Some(Ok(timeout)) => Instant::now().checked_add(timeout),
        };
        let stop = self.stop();
        let batch = detached(py, |interrupt| {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            match (reader.as_mut(), stop) {
                (Some(reader), Some(stop)) => reader.next(&stop, until, interrupt),
                _ => Ok(Batch::End),
            }
        })?;
        Ok(match batch {
            Batch::Lines(lines) => Some(PyBytes::new(py, &lines)),
            Batch::Late => Some(PyBytes::new(py, b"")),
            Batch::End => None,
        })
    }

    fn close(&self, py: Python<'_>) {
        let stop = self
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(stop) = stop {
            stop.stop();
        }
        py.detach(|| {
            let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
            *reader = None;
        });
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.close(py);
    }
}
