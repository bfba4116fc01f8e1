//! Scopes of systemd: a part of the cgroup tree that systemd gives away (systemd.scope(5), `Delegate=`).
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use minidock_core::cgroup::place::Place;
use minidock_core::error::{Context, Error, Kind};
use minidock_core::supervisor::{Helper, Spawn, Stream, Supervisor};
use pyo3::prelude::*;
use serde::Deserialize;
use zbus::blocking::connection::Builder;
use zbus::zvariant::Value;

use crate::error::detached;
use crate::helper::HelperFile;

/// Its name on the system bus. zbus cannot read what comes from systemd's own socket: its sender is no unique name.
const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long systemd may take, also for the end of a scope of that name.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// The process that keeps a new scope until the container's supervisor is in it; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct Scope {
    holder: Mutex<Option<Supervisor>>,
}

#[pymethods]
impl Scope {
    /// Makes a scope in a slice, whose cgroup is `cgroup`.
    #[staticmethod]
    fn make(
        py: Python<'_>,
        helper: &HelperFile,
        unit: &str,
        slice: &str,
        cgroup: &str,
        description: &str,
    ) -> PyResult<Self> {
        let helper = helper.get()?;
        let made = detached(py, |_| {
            let (holder, pid) = hold(&helper)?;
            let deadline = Instant::now() + PATIENCE;
            start(unit, slice, description, pid, deadline)?;
            // systemd has answered, and moves the process a moment later.
            while !is_in(pid, unit)? {
                wait(deadline, unit)?;
            }
            // A cgroup that gives its controllers on has no processes of its own.
            Place::make(&format!("{cgroup}/supervisor"))?.enter(pid)?;
            Ok(holder)
        })?;
        Ok(Self {
            holder: Mutex::new(Some(made)),
        })
    }

    /// Lets go of it: it ends with its last process.
    fn close(&self) {
        drop(
            self.holder
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyAny>) {
        self.close();
    }
}

#[derive(Deserialize)]
struct Held {
    pid: u32,
}

/// A process that lives until its client is dropped.
fn hold(helper: &Helper) -> Result<(Supervisor, u32), Error> {
    let spawn = Spawn {
        helper,
        bundle: Path::new("/"),
        streams: [Stream::Null; 3],
    };
    let holder = spawn.spawn_holder()?;
    let deadline = Some(Instant::now() + PATIENCE);
    let word = holder.wait_started(deadline, &mut || false)?;
    let held: Held = word
        .and_then(|word| serde_json::from_slice(&word).ok())
        .ok_or_else(|| {
            let why = "its first process has said nothing";
            Error::new(Kind::Timeout, "make scope of", "systemd", why)
        })?;
    Ok((holder, held.pid))
}

/// Asks for it; one of that name that is just ending is waited for.
fn start(
    unit: &str,
    slice: &str,
    description: &str,
    pid: u32,
    deadline: Instant,
) -> Result<(), Error> {
    let connection = Builder::system()
        .and_then(|bus| bus.method_timeout(PATIENCE).build())
        .map_err(|e| {
            let why = format!("the system bus cannot be reached: {e}; install and start dbus");
            Error::new(Kind::Unsupported, "make scope", unit, why)
        })?;
    loop {
        let properties: Vec<(&str, Value<'_>)> = vec![
            ("Description", description.into()),
            ("Slice", slice.into()),
            ("PIDs", vec![pid].into()),
            ("Delegate", true.into()),
            // It ends when its last process has, and a shutdown does not ask for its end. It asks for the slice's,
            // though, and the scope goes with its slice: after minidock.service, which stops containers in order.
            ("DefaultDependencies", false.into()),
            ("Before", vec!["minidock.service"].into()),
            // Its supervisor knows how long the container may take, and kills it then.
            ("TimeoutStopUSec", u64::MAX.into()),
            // A container's own limit is all that counts: not DefaultTasksMax=, which is for services.
            ("TasksMax", u64::MAX.into()),
            ("CollectMode", "inactive-or-failed".into()),
        ];
        let others: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
        let arguments = (unit, "fail", properties, others);
        match connection.call_method(
            Some(SYSTEMD),
            OBJECT,
            Some(MANAGER),
            "StartTransientUnit",
            &arguments,
        ) {
            Ok(_) => return Ok(()),
            Err(zbus::Error::MethodError(name, _, _))
                if name.as_str() == "org.freedesktop.systemd1.UnitExists" =>
            {
                wait(deadline, unit)?;
            }
            Err(e) => return Err(refused(unit, &e)),
        }
    }
}

fn refused(unit: &str, error: &zbus::Error) -> Error {
    Error::new(
        Kind::Unsupported,
        "make scope",
        unit,
        format!("systemd: {error}"),
    )
}

fn wait(deadline: Instant, unit: &str) -> Result<(), Error> {
    if Instant::now() > deadline {
        let why = "systemd has not made it within 20 s; if minidock.service is just stopping, try again when it has; look at: systemctl list-jobs";
        return Err(Error::new(Kind::Timeout, "make scope", unit, why));
    }
    sleep(PAUSE);
    Ok(())
}

/// Whether a process is in a unit's cgroup.
fn is_in(pid: u32, unit: &str) -> Result<bool, Error> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).context("read", || path)?;
    let end = format!("/{unit}");
    // Version 2's line, or that of name=systemd.
    Ok(text.lines().any(|line| {
        (line.starts_with("0::") || line.contains(":name=systemd:")) && line.ends_with(&end)
    }))
}
