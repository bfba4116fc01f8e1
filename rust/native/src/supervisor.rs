//! `Supervisor` and `run_captured`: one container's supervisor, from its client's side.
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use minidock_core::supervisor::{self, Keys, Spawn, Stream};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};

use crate::error::{detached, invalid, raise};
use crate::helper::HelperFile;
use crate::terminal::duplicate;

/// Deadlines further away than this are none (ten years): `Instant` cannot overflow.
const TIMEOUT_MAX: f64 = 315_360_000.0;

/// A started supervisor; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct Supervisor {
    inner: Mutex<Option<Arc<supervisor::Supervisor>>>,
}

impl Supervisor {
    fn get(&self) -> PyResult<Arc<supervisor::Supervisor>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .clone()
            .ok_or_else(|| invalid("use supervisor", "", "it is closed"))
    }

    /// A client as a Python object.
    pub fn of(client: supervisor::Supervisor) -> Self {
        Self {
            inner: Mutex::new(Some(Arc::new(client))),
        }
    }
}

/// The moment when `timeout` (seconds; None: never) will have passed.
fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    match timeout {
        None => Ok(None),
        Some(seconds) if seconds.is_nan() || seconds < 0.0 => Err(invalid(
            "wait",
            seconds.to_string(),
            "a timeout is a number of seconds from 0",
        )),
        Some(seconds) if seconds > TIMEOUT_MAX => Ok(None),
        Some(seconds) => Ok(Some(Instant::now() + Duration::from_secs_f64(seconds))),
    }
}

/// Starts a container's supervisor, or that of an exec when there is a request for one.
pub fn start(
    py: Python<'_>,
    helper: &HelperFile,
    bundle: &Path,
    request: Option<&[u8]>,
    fds: [Option<OwnedFd>; 3],
    pipes: [bool; 3],
) -> PyResult<supervisor::Supervisor> {
    let helper = helper.get()?;
    detached(py, |_| {
        let mut streams = [Stream::Null; 3];
        for ((stream, fd), pipe) in streams.iter_mut().zip(&fds).zip(pipes) {
            *stream = match fd {
                Some(fd) => Stream::Fd(fd.as_fd()),
                None if pipe => Stream::Pipe,
                None => Stream::Null,
            };
        }
        let spawn = Spawn {
            helper: &helper,
            bundle,
            streams,
        };
        match request {
            Some(request) => spawn.spawn_exec(request),
            None => spawn.spawn(),
        }
    })
}

#[pymethods]
impl Supervisor {
    #[classmethod]
    #[pyo3(signature = (helper, bundle, *, stdin=None, stdout=None, stderr=None, stdin_pipe=false, capture=false))]
    #[allow(clippy::too_many_arguments)]
    fn spawn(
        _class: &Bound<'_, PyType>,
        py: Python<'_>,
        helper: &HelperFile,
        bundle: PathBuf,
        stdin: Option<i32>,
        stdout: Option<i32>,
        stderr: Option<i32>,
        stdin_pipe: bool,
        capture: bool,
    ) -> PyResult<Self> {
        if stdin_pipe && stdin.is_some() {
            return Err(invalid(
                "start supervisor",
                "stdin",
                "stdin and stdin_pipe exclude each other",
            ));
        }
        let own = |fd: Option<i32>| fd.map(|fd| duplicate("start supervisor", fd)).transpose();
        let fds = [own(stdin)?, own(stdout)?, own(stderr)?];
        let started = start(
            py,
            helper,
            &bundle,
            None,
            fds,
            [stdin_pipe, capture, capture],
        )?;
        Ok(Self::of(started))
    }

    #[classmethod]
    fn connect(_class: &Bound<'_, PyType>, py: Python<'_>, run_dir: PathBuf) -> PyResult<Self> {
        let connected = detached(py, |_| supervisor::Supervisor::connect(&run_dir))?;
        Ok(Self {
            inner: Mutex::new(Some(Arc::new(connected))),
        })
    }

    #[pyo3(signature = (request, fds=None, timeout=None))]
    fn request(
        &self,
        py: Python<'_>,
        request: &[u8],
        fds: Option<Vec<i32>>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let (inner, until) = (self.get()?, deadline(timeout)?);
        let request: serde_json::Value = serde_json::from_slice(request)
            .map_err(|e| invalid("ask supervisor", "request", &e.to_string()))?;
        let fds = fds.unwrap_or_default().into_iter();
        let fds = fds.map(|fd| duplicate("attach", fd));
        let fds: Vec<OwnedFd> = fds.collect::<PyResult<_>>()?;
        detached(py, |interrupt| {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            inner
                .request(&request, &fds, until, interrupt)?
                .ok_or_else(|| {
                    let why = "the supervisor does not answer";
                    minidock_core::Error::new(
                        minidock_core::Kind::Timeout,
                        "ask supervisor",
                        "",
                        why,
                    )
                })
        })
    }

    #[pyo3(signature = (timeout=None))]
    fn wait_attached<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let (inner, until) = (self.get()?, deadline(timeout)?);
        let packet = detached(py, |interrupt| inner.wait_attached(until, interrupt))?;
        Ok(packet.map(|packet| PyBytes::new(py, &packet)))
    }

    #[pyo3(signature = (timeout=None))]
    fn wait_started<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (inner, until) = (self.get()?, deadline(timeout)?);
        let packet = detached(py, |interrupt| {
            inner.wait_started(until, interrupt)?.ok_or_else(|| {
                let why = "the supervisor has not answered yet";
                minidock_core::Error::new(minidock_core::Kind::Timeout, "start container", "", why)
            })
        })?;
        Ok(PyBytes::new(py, &packet))
    }

    #[pyo3(signature = (timeout=None))]
    fn wait<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let (inner, until) = (self.get()?, deadline(timeout)?);
        let packet = detached(py, |interrupt| inner.wait(until, interrupt))?;
        Ok(packet.map(|packet| PyBytes::new(py, &packet)))
    }

    #[pyo3(signature = (input=None, timeout=None, limit=67108864))]
    fn communicate<'py>(
        &self,
        py: Python<'py>,
        input: Option<&[u8]>,
        timeout: Option<f64>,
        limit: usize,
    ) -> PyResult<(
        Bound<'py, PyBytes>,
        Bound<'py, PyBytes>,
        Bound<'py, PyBytes>,
    )> {
        let (inner, until) = (self.get()?, deadline(timeout)?);
        let input = input.unwrap_or_default();
        let all = detached(py, |interrupt| {
            inner.communicate(input, until, limit, interrupt)
        })?;
        let bytes = |b: &[u8]| PyBytes::new(py, b);
        Ok((bytes(&all.stdout), bytes(&all.stderr), bytes(&all.exited)))
    }

    #[pyo3(signature = (stdin=None, stdout=None, stderr=None, *, detach_keys=None))]
    fn interact<'py>(
        &self,
        py: Python<'py>,
        stdin: Option<i32>,
        stdout: Option<i32>,
        stderr: Option<i32>,
        detach_keys: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let keys = detach_keys
            .map(Keys::parse)
            .transpose()
            .map_err(|e| raise(&e))?;
        let own = |fd: Option<i32>| fd.map(|fd| duplicate("attach", fd)).transpose();
        let (stdin, stdout, stderr) = (own(stdin)?, own(stdout)?, own(stderr)?);
        let inner = self.get()?;
        let packet = detached(py, |interrupt| {
            let outputs = [
                stdout.as_ref().map(AsFd::as_fd),
                stderr.as_ref().map(AsFd::as_fd),
            ];
            inner.interact(stdin.as_ref().map(AsFd::as_fd), outputs, keys, interrupt)
        })?;
        Ok(packet.map(|packet| PyBytes::new(py, &packet)))
    }

    fn signal(&self, number: i32) -> PyResult<()> {
        if !(1..=64).contains(&number) {
            return Err(invalid("signal", number.to_string(), "not a signal"));
        }
        self.get()?.signal(number).map_err(|e| raise(&e))
    }

    fn stop(&self, signal: i32, timeout_ms: u64) -> PyResult<()> {
        if !(1..=64).contains(&signal) {
            return Err(invalid("stop", signal.to_string(), "not a signal"));
        }
        let timeout = Duration::from_millis(timeout_ms);
        self.get()?.stop(signal, timeout).map_err(|e| raise(&e))
    }

    fn resize(&self, rows: u16, cols: u16) -> PyResult<()> {
        self.get()?.resize(rows, cols).map_err(|e| raise(&e))
    }

    fn close_stdin(&self) -> PyResult<()> {
        self.get()?.close_stdin().map_err(|e| raise(&e))
    }

    fn release(&self) -> PyResult<()> {
        self.get()?.release().map_err(|e| raise(&e))
    }

    fn fileno(&self) -> PyResult<i32> {
        Ok(self.get()?.socket().as_raw_fd())
    }

    fn close(&self) {
        let inner = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(inner) = inner {
            inner.close();
        }
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) {
        self.close();
    }
}

/// Four packets or streams: first packet, stdout, stderr, `exited` packet (None: the container did not start).
pub type Run<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Option<Bound<'py, PyBytes>>,
);

/// What a run has left, as Python objects.
pub fn run_result<'py>(py: Python<'py>, done: &(Vec<u8>, supervisor::Captured)) -> Run<'py> {
    let (first, all) = done;
    let bytes = |b: &[u8]| PyBytes::new(py, b);
    let exited = (!all.exited.is_empty()).then(|| bytes(&all.exited));
    let (out, err) = (bytes(&all.stdout), bytes(&all.stderr));
    (bytes(first), out, err, exited)
}

/// Runs a container to its end; see the stub.
#[pyfunction]
#[pyo3(signature = (helper, bundle, *, input=None, timeout=None, limit=67108864))]
pub fn run_captured<'py>(
    py: Python<'py>,
    helper: &HelperFile,
    bundle: PathBuf,
    input: Option<&[u8]>,
    timeout: Option<f64>,
    limit: usize,
) -> PyResult<Run<'py>> {
    let until = deadline(timeout)?;
    let none = [None, None, None];
    let started = start(
        py,
        helper,
        &bundle,
        None,
        none,
        [input.is_some(), true, true],
    )?;
    let input = input.unwrap_or_default();
    let done = detached(py, |interrupt| {
        started.run_captured(input, until, limit, interrupt)
    })?;
    Ok(run_result(py, &done))
}
