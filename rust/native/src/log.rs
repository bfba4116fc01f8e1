//! `LogReader`: the log of a container, in batches.
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use minidock_core::Error;
use minidock_core::log::Stream;
use minidock_core::log::read::{Attributes, Format, More, Reader, Style, Wanted};
use minidock_core::stop::Stop;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{detached, invalid, raise};
use crate::terminal::duplicate;

/// Signals are looked for this often.
const LONGEST: f64 = 1.0;

type Line<'py> = (u8, i64, Bound<'py, PyBytes>, Option<Py<PyAny>>);
/// Pieces of text by stream; and whether there is more.
type Text<'py> = (Vec<(u8, Bound<'py, PyBytes>)>, Option<bool>);
type Known = Option<(Arc<Attributes>, Py<PyAny>)>;

/// A log that is read; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct LogReader {
    inner: Mutex<Option<Reader>>,
    closed: AtomicBool,
    /// Taken by the one who closes: it is a descriptor, and the object may live on.
    stop: Mutex<Option<Arc<Stop>>>,
    /// The last attributes, as Python has them.
    known: Mutex<Known>,
}

impl LogReader {
    /// Works on the reader without the GIL.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Reader, &mut dyn FnMut() -> bool) -> minidock_core::Result<T> + Send,
    ) -> PyResult<T> {
        detached(py, |interrupted| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            match inner.as_mut() {
                Some(reader) if !self.closed.load(Ordering::Acquire) => work(reader, interrupted),
                _ => Err(minidock_core::Error::new(
                    minidock_core::Kind::Invalid,
                    "read log",
                    "",
                    "it is closed",
                )),
            }
        })
    }

    fn attributes(&self, py: Python<'_>, found: &Arc<Attributes>) -> PyResult<Py<PyAny>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((attributes, made)) = known.as_ref()
            && Arc::ptr_eq(attributes, found)
        {
            return Ok(made.clone_ref(py));
        }
        let all: HashMap<&str, &str> = found.iter().map(|(k, v)| (&k[..], &v[..])).collect();
        let made = all.into_pyobject(py)?.into_any().unbind();
        *known = Some((found.clone(), made.clone_ref(py)));
        Ok(made)
    }
}

fn number(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

fn state(more: More) -> Option<bool> {
    match more {
        More::Some => Some(true),
        More::NotYet => Some(false),
        More::End => None,
    }
}

fn seconds(timeout: f64) -> PyResult<Duration> {
    if timeout.is_nan() || timeout < 0.0 {
        return Err(invalid(
            "read log",
            timeout.to_string(),
            "a timeout is a number of seconds from 0",
        ));
    }
    Ok(Duration::from_secs_f64(timeout.min(LONGEST)))
}

#[pymethods]
impl LogReader {
    #[new]
    #[pyo3(signature = (path, format, *, stdout=true, stderr=true, tail=None, since=None, until=None, follow=false, directory=None, pidfd=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        format: &str,
        stdout: bool,
        stderr: bool,
        tail: Option<u64>,
        since: Option<i64>,
        until: Option<i64>,
        follow: bool,
        directory: Option<PathBuf>,
        pidfd: Option<i32>,
    ) -> PyResult<Self> {
        let format = match format {
            "json-file" => Format::Json,
            "local" => Format::Local,
            other => return Err(invalid("read log", other, "json-file or local is needed")),
        };
        let process = pidfd.map(|fd| duplicate("read log", fd)).transpose()?;
        let wanted = Wanted {
            tail,
            since,
            until,
            stdout,
            stderr,
            follow,
        };
        let opened = py.detach(|| {
            let mut reader = Reader::open(&path, format, wanted, directory.as_deref(), process)?;
            let stop = reader.stop()?;
            Ok((reader, stop))
        });
        let (reader, stop) = opened.map_err(|e: Error| raise(&e))?;
        Ok(Self {
            inner: Mutex::new(Some(reader)),
            closed: AtomicBool::new(false),
            stop: Mutex::new(stop),
            known: Mutex::new(None),
        })
    }

    #[pyo3(signature = (timestamps=false, details=false, timeout=1.0))]
    fn text<'py>(
        &self,
        py: Python<'py>,
        timestamps: bool,
        details: bool,
        timeout: f64,
    ) -> PyResult<Text<'py>> {
        let limit = seconds(timeout)?;
        let style = Style {
            timestamps,
            details,
        };
        let (text, more) = self.with(py, |reader, interrupted| {
            reader.text(style, limit, interrupted)
        })?;
        let parts = text.parts.iter();
        let parts = parts.map(|(stream, part)| (number(*stream), PyBytes::new(py, part)));
        Ok((parts.collect(), state(more)))
    }

    #[pyo3(signature = (timeout=1.0))]
    fn lines<'py>(
        &self,
        py: Python<'py>,
        timeout: f64,
    ) -> PyResult<(Vec<Line<'py>>, Option<bool>)> {
        let limit = seconds(timeout)?;
        let (lines, more) =
            self.with(py, |reader, interrupted| reader.lines(limit, interrupted))?;
        let mut made = Vec::with_capacity(lines.len());
        for line in lines {
            let attributes = line.attributes.as_ref();
            let attributes = attributes
                .map(|found| self.attributes(py, found))
                .transpose()?;
            let data = PyBytes::new(py, &line.data);
            made.push((number(line.stream), line.time, data, attributes));
        }
        Ok((made, state(more)))
    }

    fn stop_following(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |reader, _| reader.stop_following())
    }

    fn close(&self, py: Python<'_>) {
        self.closed.store(true, Ordering::Release);
        let stop = self
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(stop) = stop {
            stop.stop();
        }
        // Who reads may want the interpreter before it gives the reader back.
        py.detach(|| *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = None);
    }
}
