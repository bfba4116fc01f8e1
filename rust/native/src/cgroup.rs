//! Groups by path, for the engine: statistics, updates, and what a dead supervisor left behind.
use std::time::{Duration, Instant};

use minidock_core::cgroup::resources::{Missing, Options};
use minidock_core::cgroup::{Cgroup, Hierarchies, sample};
use minidock_core::{Error, Kind};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::raise;

/// No caller waits longer.
const LONGEST: f64 = 3600.0;
/// Ctrl-C is heard this often.
const STEP: Duration = Duration::from_millis(100);

fn seconds(timeout: f64) -> Result<Duration, Error> {
    if timeout.is_nan() || timeout < 0.0 {
        return Err(Error::new(
            Kind::Invalid,
            "use timeout",
            timeout.to_string(),
            "it is a number of seconds, 0 or more",
        ));
    }
    Ok(Duration::from_secs_f64(timeout.min(LONGEST)))
}

fn json(value: &impl serde::Serialize, what: &'static str) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|e| Error::new(Kind::Invalid, "encode", what, e.to_string()))
}

/// Opens a group; None if no hierarchy has it.
fn open(path: &str) -> Result<Option<Cgroup>, Error> {
    match Cgroup::open(&Hierarchies::detect()?, path) {
        Ok(group) => Ok(Some(group)),
        Err(e) if e.kind == Kind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[pyfunction]
pub fn cgroup_host(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    let found = py.detach(|| {
        json(
            &Hierarchies::detect()?.capabilities(),
            "cgroup capabilities",
        )
    });
    found.map(|b| PyBytes::new(py, &b)).map_err(|e| raise(&e))
}

#[pyfunction]
pub fn cgroup_stats<'py>(py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyBytes>> {
    let stats = py.detach(|| {
        json(
            &Cgroup::open(&Hierarchies::detect()?, path)?.stats(),
            "cgroup statistics",
        )
    });
    stats.map(|b| PyBytes::new(py, &b)).map_err(|e| raise(&e))
}

#[pyfunction]
pub fn container_samples(
    py: Python<'_>,
    groups: Vec<(String, u32)>,
) -> PyResult<Bound<'_, PyBytes>> {
    let found = py.detach(|| json(&sample::look(&groups)?, "statistics of containers"));
    found.map(|b| PyBytes::new(py, &b)).map_err(|e| raise(&e))
}

#[pyfunction]
pub fn cgroup_processes(py: Python<'_>, path: &str) -> PyResult<Vec<u32>> {
    py.detach(|| open(path)?.map_or_else(|| Ok(Vec::new()), |group| group.processes()))
        .map_err(|e| raise(&e))
}

#[pyfunction]
#[pyo3(signature = (path, timeout = 10.0))]
pub fn cgroup_kill(py: Python<'_>, path: &str, timeout: f64) -> PyResult<bool> {
    in_steps(py, path, timeout, |group, limit| group.kill_all(9, limit))
}

#[pyfunction]
#[pyo3(signature = (path, timeout = 1.0))]
pub fn cgroup_remove(py: Python<'_>, path: &str, timeout: f64) -> PyResult<bool> {
    in_steps(py, path, timeout, Cgroup::remove)
}

/// Tries for `timeout` seconds, in steps between which Python's signal handlers run; false if there is no such group.
fn in_steps(
    py: Python<'_>,
    path: &str,
    timeout: f64,
    step: impl Fn(&mut Cgroup, Duration) -> Result<(), Error> + Sync,
) -> PyResult<bool> {
    let (limit, group) = py
        .detach(|| Ok((seconds(timeout)?, open(path)?)))
        .map_err(|e: Error| raise(&e))?;
    let Some(mut group) = group else {
        return Ok(false);
    };
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match py.detach(|| step(&mut group, left.min(STEP))) {
            Ok(()) => return Ok(true),
            Err(e) if left <= STEP || !matches!(e.kind, Kind::Timeout | Kind::Busy) => {
                return Err(raise(&e));
            }
            Err(_) => py.check_signals()?,
        }
    }
}

#[pyfunction]
pub fn cgroup_apply(py: Python<'_>, path: &str, resources: &[u8]) -> PyResult<Vec<String>> {
    py.detach(|| {
        let resources = serde_json::from_slice(resources)
            .map_err(|e| Error::new(Kind::Invalid, "read", "linux.resources", e.to_string()))?;
        let group = Cgroup::open(&Hierarchies::detect()?, path)?;
        let options = Options {
            missing: Missing::Warn,
            update: true,
        };
        Ok(group
            .apply_with(&resources, options)?
            .iter()
            .map(ToString::to_string)
            .collect())
    })
    .map_err(|e| raise(&e))
}

#[pyfunction]
#[pyo3(signature = (path, timeout = 10.0))]
pub fn cgroup_freeze(py: Python<'_>, path: &str, timeout: f64) -> PyResult<()> {
    py.detach(|| Cgroup::open(&Hierarchies::detect()?, path)?.freeze(seconds(timeout)?))
        .map_err(|e| raise(&e))
}

#[pyfunction]
pub fn cgroup_thaw(py: Python<'_>, path: &str) -> PyResult<()> {
    py.detach(|| Cgroup::open(&Hierarchies::detect()?, path)?.thaw())
        .map_err(|e| raise(&e))
}

#[pyfunction]
pub fn cgroup_frozen(py: Python<'_>, path: &str) -> PyResult<bool> {
    py.detach(|| Ok(open(path)?.is_some_and(|group| group.is_frozen())))
        .map_err(|e: Error| raise(&e))
}
