//! Copies into and out of containers, and what they have changed.
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use minidock_core::archive::{self, Changed, Place, Rules, Source, Target, Tree};
use minidock_core::layer::{Input, Owner};
use minidock_core::{Error, Kind, Result};
use pyo3::prelude::*;

use crate::error::{invalid, raise};
use crate::helper::HelperFile;
use crate::layer::{Progress, control, id_map, interruptible};
use crate::terminal::duplicate;

/// A container's files; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct ContainerTree {
    /// None: closed.
    tree: Mutex<Option<Arc<Tree>>>,
}

impl ContainerTree {
    fn of(tree: Tree) -> Self {
        Self {
            tree: Mutex::new(Some(Arc::new(tree))),
        }
    }

    fn tree(&self) -> PyResult<Arc<Tree>> {
        let tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        tree.clone()
            .ok_or_else(|| invalid("use files of a container", "", "they are closed"))
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// A directory that may be written to.
fn writable(tree: &Tree, path: &Path, read_only_root: bool) -> Result<Place> {
    let place = tree.directory(bytes(path))?;
    let refused = |why| {
        let subject = path.display().to_string();
        Err(Error::new(Kind::Invalid, "copy into", subject, why))
    };
    match (place.on_root, read_only_root || place.read_only) {
        (true, true) => refused("container rootfs is marked read-only"),
        (false, _) if place.read_only => refused("mounted volume is marked read-only"),
        _ => Ok(place),
    }
}

#[pymethods]
impl ContainerTree {
    #[staticmethod]
    #[pyo3(signature = (pid, start_time, *, idmap=None))]
    fn running(
        py: Python<'_>,
        pid: i32,
        start_time: u64,
        idmap: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let map = id_map(idmap)?;
        py.detach(|| Tree::running(pid, start_time, map))
            .map(Self::of)
            .map_err(|e| raise(&e))
    }

    #[staticmethod]
    #[pyo3(signature = (helper, bundle, request, *, idmap=None))]
    fn stopped(
        py: Python<'_>,
        helper: &HelperFile,
        bundle: PathBuf,
        request: &[u8],
        idmap: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let map = id_map(idmap)?;
        let helper = helper.get()?;
        py.detach(|| Tree::stopped(&helper, &bundle, request, map))
            .map(Self::of)
            .map_err(|e| raise(&e))
    }

    fn stat(&self, py: Python<'_>, path: PathBuf) -> PyResult<(u64, u32, i64, u32, OsString)> {
        let tree = self.tree()?;
        let found = py
            .detach(|| tree.stat(bytes(&path)))
            .map_err(|e| raise(&e))?;
        let (seconds, nanos) = found.mtime;
        let target = OsString::from_vec(found.link_target);
        Ok((found.size, found.mode, seconds, nanos, target))
    }

    fn user(&self, py: Python<'_>, spec: &str) -> PyResult<(u32, u32)> {
        let tree = self.tree()?;
        py.detach(|| tree.user(spec)).map_err(|e| raise(&e))
    }

    #[pyo3(signature = (path, name, out, *, progress=None))]
    fn read(
        &self,
        py: Python<'_>,
        path: PathBuf,
        name: PathBuf,
        out: i32,
        progress: Option<&Bound<'_, Progress>>,
    ) -> PyResult<()> {
        let (tree, control) = (self.tree()?, control(progress));
        let out = duplicate("copy", out)?;
        interruptible(py, &control, || {
            let source = Source::container(&tree, bytes(&path))?;
            archive::read(&source, bytes(&name), out, &control)
        })
    }

    #[pyo3(signature = (path, source, *, owner=None, keep_kinds=false, read_only_root=false, progress=None))]
    #[allow(clippy::too_many_arguments)]
    fn write(
        &self,
        py: Python<'_>,
        path: PathBuf,
        source: i32,
        owner: Option<(u32, u32)>,
        keep_kinds: bool,
        read_only_root: bool,
        progress: Option<&Bound<'_, Progress>>,
    ) -> PyResult<()> {
        let (tree, control) = (self.tree()?, control(progress));
        let source = duplicate("copy", source)?;
        let rules = Rules {
            owner: owner.map_or(Owner::Archive, |(uid, gid)| Owner::Fixed(uid, gid)),
            keep_kinds,
            tame: false,
        };
        interruptible(py, &control, || {
            let place = writable(&tree, &path, read_only_root)?;
            archive::write(Input::Fd(source.as_fd()), &tree, place, rules, &control)
        })
    }

    #[pyo3(signature = (path, name, target, *, owners=false, progress=None))]
    fn copy_out(
        &self,
        py: Python<'_>,
        path: PathBuf,
        name: PathBuf,
        target: PathBuf,
        owners: bool,
        progress: Option<&Bound<'_, Progress>>,
    ) -> PyResult<()> {
        let (tree, control) = (self.tree()?, control(progress));
        let rules = Rules {
            owner: if owners {
                Owner::Archive
            } else {
                Owner::Caller
            },
            keep_kinds: true,
            tame: !owners,
        };
        interruptible(py, &control, || {
            let source = Source::container(&tree, bytes(&path))?;
            let target = Target::Host(&target);
            archive::copy(&source, bytes(&name), &target, rules, &control)
        })
    }

    #[pyo3(signature = (source, name, path, *, owner=None, read_only_root=false, progress=None))]
    #[allow(clippy::too_many_arguments)]
    fn copy_in(
        &self,
        py: Python<'_>,
        source: PathBuf,
        name: PathBuf,
        path: PathBuf,
        owner: Option<(u32, u32)>,
        read_only_root: bool,
        progress: Option<&Bound<'_, Progress>>,
    ) -> PyResult<()> {
        let (tree, control) = (self.tree()?, control(progress));
        let rules = Rules {
            owner: owner.map_or(Owner::Archive, |(uid, gid)| Owner::Fixed(uid, gid)),
            keep_kinds: true,
            tame: false,
        };
        interruptible(py, &control, || {
            let place = writable(&tree, &path, read_only_root)?;
            let source = Source::host(&source)?;
            let target = Target::Container(&tree, &place);
            archive::copy(&source, bytes(&name), &target, rules, &control)
        })
    }

    fn close(&self, py: Python<'_>) {
        let tree = self
            .tree
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        py.detach(|| drop(tree));
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.close(py);
    }
}

/// What a container has changed; see the stub.
#[pyfunction]
#[pyo3(signature = (tree, layers, *, whole=false, idmap=None, progress=None))]
pub fn tree_changes(
    py: Python<'_>,
    tree: PathBuf,
    layers: Vec<PathBuf>,
    whole: bool,
    idmap: Option<&Bound<'_, PyAny>>,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<Vec<(OsString, u8)>> {
    let map = id_map(idmap)?;
    let control = control(progress);
    let tree = if whole {
        Changed::Whole(tree)
    } else {
        Changed::Upper(tree)
    };
    let found = interruptible(py, &control, || {
        archive::changes(&tree, &layers, &map, &control)
    })?;
    Ok(found
        .into_iter()
        .map(|(path, change)| (OsString::from_vec(path), change as u8))
        .collect())
}
