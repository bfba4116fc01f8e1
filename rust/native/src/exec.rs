//! Starting processes in running containers.
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::error::{detached, invalid};
use crate::helper::HelperFile;
use crate::supervisor::{Run, Supervisor, run_result, start};
use crate::terminal::duplicate;

/// Starts the supervisor of an exec; see the stub.
#[pyfunction]
#[pyo3(signature = (helper, bundle, request, *, stdin=None, stdout=None, stderr=None, stdin_pipe=false))]
#[allow(clippy::too_many_arguments)]
pub fn exec_spawn(
    py: Python<'_>,
    helper: &HelperFile,
    bundle: PathBuf,
    request: &[u8],
    stdin: Option<i32>,
    stdout: Option<i32>,
    stderr: Option<i32>,
    stdin_pipe: bool,
) -> PyResult<Supervisor> {
    if stdin_pipe && stdin.is_some() {
        let why = "stdin and stdin_pipe exclude each other";
        return Err(invalid("start exec", "stdin", why));
    }
    let own = |fd: Option<i32>| fd.map(|fd| duplicate("start exec", fd)).transpose();
    let fds: [Option<OwnedFd>; 3] = [own(stdin)?, own(stdout)?, own(stderr)?];
    let pipes = [stdin_pipe, false, false];
    start(py, helper, &bundle, Some(request), fds, pipes).map(Supervisor::of)
}

/// Runs an exec to its end; see the stub.
#[pyfunction]
#[pyo3(signature = (helper, bundle, request, *, input=None, limit=67108864))]
pub fn exec_captured<'py>(
    py: Python<'py>,
    helper: &HelperFile,
    bundle: PathBuf,
    request: &[u8],
    input: Option<&[u8]>,
    limit: usize,
) -> PyResult<Run<'py>> {
    let pipes = [input.is_some(), true, true];
    let none = [None, None, None];
    let started = start(py, helper, &bundle, Some(request), none, pipes)?;
    let input = input.unwrap_or_default();
    let done = detached(py, |interrupt| {
        started.run_captured(input, None, limit, interrupt)
    })?;
    Ok(run_result(py, &done))
}
