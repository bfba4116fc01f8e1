//! Scopes of systemd: a part of the cgroup tree that systemd gives away (systemd.scope(5), `Delegate=`).
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use minidock_core::cgroup::place::Place;
use minidock_core::cgroup::resources::{shares_to_weight, to_io_weight};
use minidock_core::error::{Context, Error, Kind};
use minidock_core::supervisor::{Helper, Spawn, Stream, Supervisor};
use pyo3::prelude::*;
use serde::Deserialize;
use zbus::blocking::Connection;
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
/// Beyond a container's stop timeout: then its supervisor, which knows that, has killed it.
const MARGIN_SECONDS: u64 = 10;

/// The process that keeps a new scope until the container's supervisor is in it; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct Scope {
    holder: Mutex<Option<Supervisor>>,
}

#[pymethods]
impl Scope {
    /// Makes a scope in a slice, whose cgroup is `cgroup`.
    #[staticmethod]
    #[pyo3(signature = (helper, unit, slice, cgroup, description, *, stop_seconds=None, cpu_shares=0, blkio_weight=0))]
    #[allow(clippy::too_many_arguments)] // by name in Python
    fn make(
        py: Python<'_>,
        helper: &HelperFile,
        unit: &str,
        slice: &str,
        cgroup: &str,
        description: &str,
        stop_seconds: Option<u64>,
        cpu_shares: u64,
        blkio_weight: u16,
    ) -> PyResult<Self> {
        let mut more = weights(cpu_shares, blkio_weight);
        // Without one systemd's own default holds: what has no end of its own is not to hold up a shutdown.
        if let Some(seconds) = stop_seconds {
            let microseconds = seconds
                .saturating_add(MARGIN_SECONDS)
                .saturating_mul(1_000_000);
            more.push(("TimeoutStopUSec", microseconds.into()));
        }
        let helper = helper.get()?;
        let made = detached(py, |_| {
            let (holder, pid) = hold(&helper)?;
            let deadline = Instant::now() + PATIENCE;
            start(unit, slice, description, pid, &more, deadline)?;
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

    /// Gives a scope other weights; 0 leaves one as it is.
    #[staticmethod]
    fn weigh(py: Python<'_>, unit: &str, cpu_shares: u64, blkio_weight: u16) -> PyResult<()> {
        let properties = weights(cpu_shares, blkio_weight);
        detached(py, |_| {
            let connection = connect()?;
            // Of one that has just ended nothing is to stay.
            match connection.call_method(Some(SYSTEMD), OBJECT, Some(MANAGER), "GetUnit", &(unit,))
            {
                Ok(_) => {}
                Err(zbus::Error::MethodError(name, _, _))
                    if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit" =>
                {
                    return Ok(());
                }
                Err(e) => return Err(refused("look at scope", unit, &e)),
            }
            connection
                .call_method(
                    Some(SYSTEMD),
                    OBJECT,
                    Some(MANAGER),
                    "SetUnitProperties",
                    &(unit, true, &properties),
                )
                .map_err(|e| refused("change scope", unit, &e))?;
            Ok(())
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

/// A property of a unit.
type Property = (&'static str, Value<'static>);

/// What a container's weights are of its scope: they count beside other scopes, and in the scope there is no other group.
fn weights(cpu_shares: u64, blkio_weight: u16) -> Vec<Property> {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let mut found: Vec<Property> = Vec::new();
    if cpu_shares != 0 {
        found.push(if unified {
            ("CPUWeight", shares_to_weight(cpu_shares).into())
        } else {
            ("CPUShares", cpu_shares.clamp(2, 262_144).into())
        });
    }
    if blkio_weight != 0 {
        found.push(if unified {
            ("IOWeight", to_io_weight(blkio_weight).into())
        } else {
            ("BlockIOWeight", u64::from(blkio_weight).into())
        });
    }
    found
}

fn connect() -> Result<Connection, Error> {
    Builder::system()
        .and_then(|bus| bus.method_timeout(PATIENCE).build())
        .map_err(|e| {
            let why = format!("the system bus cannot be reached: {e}; install and start dbus");
            Error::new(Kind::Unsupported, "ask", "systemd", why)
        })
}

/// Asks for it; one of that name that is just ending is waited for.
fn start(
    unit: &str,
    slice: &str,
    description: &str,
    pid: u32,
    more: &[Property],
    deadline: Instant,
) -> Result<(), Error> {
    let connection = connect()?;
    loop {
        let mut properties: Vec<(&str, Value<'_>)> = vec![
            ("Description", description.into()),
            ("Slice", slice.into()),
            ("PIDs", vec![pid].into()),
            ("Delegate", true.into()),
            // It ends when its last process has, and a shutdown does not ask for its end. It asks for the slice's,
            // though, and the scope goes with its slice: after minidock.service, which stops containers in order.
            ("DefaultDependencies", false.into()),
            ("Before", vec!["minidock.service"].into()),
            // A container's own limit is all that counts: not DefaultTasksMax=, which is for services.
            ("TasksMax", u64::MAX.into()),
            ("CollectMode", "inactive-or-failed".into()),
        ];
        for (name, value) in more {
            properties.push((
                name,
                value
                    .try_clone()
                    .map_err(|e| refused("make scope", unit, &zbus::Error::Variant(e)))?,
            ));
        }
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
            Err(e) => return Err(refused("make scope", unit, &e)),
        }
    }
}

fn refused(what: &'static str, unit: &str, error: &zbus::Error) -> Error {
    Error::new(Kind::Unsupported, what, unit, format!("systemd: {error}"))
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
