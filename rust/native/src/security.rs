//! Seccomp filters, AppArmor profiles and SELinux labels for Python.
use std::collections::HashSet;
use std::path::PathBuf;

use minidock_core::security::seccomp::{COMPILER_VERSION, Target, compile_json};
use minidock_core::security::{apparmor, selinux};
use minidock_core::{Context, Error, Kind};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::raise;

/// Version of the filter compiler; part of the key of stored filters.
pub const SECCOMP_COMPILER: u32 = COMPILER_VERSION;

/// The stored form of the filter for a `linux.seccomp` document.
#[pyfunction]
pub fn seccomp_compile<'py>(
    py: Python<'py>,
    profile: &[u8],
    machine: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let compile = || {
        let target = Target::from_name(machine).ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "compile seccomp profile",
                machine,
                "unknown machine",
            )
        })?;
        Ok(compile_json(profile, target)?.to_bytes())
    };
    let bytes = py.detach(compile).map_err(|e: Error| raise(&e))?;
    Ok(PyBytes::new(py, &bytes))
}

/// Whether the kernel enforces AppArmor, and its profiles can be reached.
#[pyfunction]
pub fn apparmor_enabled() -> bool {
    apparmor::Host::default().is_enabled()
}

/// Sees to it that a profile is loaded: ours is loaded with the host's parser, another must be there.
#[pyfunction]
pub fn apparmor_ensure(py: Python<'_>, name: &str) -> PyResult<()> {
    let ensure = || {
        let host = apparmor::Host::default();
        if name == apparmor::DEFAULT {
            return host.ensure_default();
        }
        if host.is_loaded(name)? {
            return Ok(());
        }
        let why = "it is not loaded: load it with apparmor_parser";
        Err(Error::new(
            Kind::NotFound,
            "use AppArmor profile",
            name,
            why,
        ))
    };
    py.detach(ensure).map_err(|e: Error| raise(&e))
}

/// Whether the kernel has SELinux.
#[pyfunction]
pub fn selinux_enabled() -> bool {
    selinux::is_enabled()
}

/// Process label and file label of a container; an empty one is none.
#[pyfunction]
pub fn selinux_labels(
    options: Vec<(String, String)>,
    disable: bool,
    used_levels: HashSet<String>,
) -> PyResult<(String, String)> {
    let labels = || {
        let host = selinux::Host::default();
        let contexts = host.contexts();
        let contexts = contexts.as_deref();
        if disable {
            let file = selinux::Labels::of_unlabelled(contexts);
            let file = host.knows(&file).then(|| file.to_string());
            return Ok((String::new(), file.unwrap_or_default()));
        }
        let level = selinux::unique_level(&used_levels, random)?;
        let options: Vec<_> = options
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        let labels = selinux::Labels::new(contexts, &options, &level)?;
        host.check(&labels)?;
        Ok((labels.process.to_string(), labels.file.to_string()))
    };
    labels().map_err(|e: Error| raise(&e))
}

/// Refuses `z` and `Z` for a bind's source where nothing is relabelled; see the stub.
#[pyfunction]
pub fn selinux_check_relabel(path: PathBuf, roots: Vec<PathBuf>) -> PyResult<()> {
    selinux::check_relabel(&path, &roots).map_err(|e| raise(&e))
}

/// Labels a bind's source, or what is the engine's own, and all below it; see the stub.
#[pyfunction]
#[pyo3(signature = (path, label, shared, roots))]
pub fn selinux_relabel(
    py: Python<'_>,
    path: PathBuf,
    label: &str,
    shared: bool,
    roots: Option<Vec<PathBuf>>,
) -> PyResult<()> {
    py.detach(|| selinux::relabel(&path, label, shared, roots.as_deref()))
        .map_err(|e: Error| raise(&e))
}

fn random() -> minidock_core::Result<u32> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("get random numbers", || "")?;
    Ok(u32::from_ne_bytes(bytes))
}
