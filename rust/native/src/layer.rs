//! Layers: unpacking, and removal of trees.
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use minidock_core::layer::{
    self, Compression, Control, CreateOptions, Digests, IdMap, Input, Limits, Options, Owner, Sink,
    Unpacked, Whiteouts, owner,
};
use minidock_core::{Context, Error, Kind, Result};
use pyo3::prelude::*;
use pyo3::types::{PyAnyMethods, PyDict, PyDictMethods};

use crate::error::{detached, invalid};
use crate::spool::Spool;
use crate::terminal::duplicate;

/// How often a long call looks for signals.
const TICK: Duration = Duration::from_millis(50);

/// Counters of one long call; see the stub.
#[pyclass(frozen, module = "minidock._native")]
pub struct Progress {
    control: Arc<Control>,
}

#[pymethods]
impl Progress {
    #[new]
    fn new() -> Self {
        Self {
            control: Arc::default(),
        }
    }

    #[getter]
    fn read(&self) -> u64 {
        self.control.read.load(Relaxed)
    }

    #[getter]
    fn size(&self) -> u64 {
        self.control.size.load(Relaxed)
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.control.entries.load(Relaxed)
    }

    fn cancel(&self) {
        self.control.cancel();
    }
}

pub fn control(progress: Option<&Bound<'_, Progress>>) -> Arc<Control> {
    progress.map_or_else(Arc::default, |progress| Arc::clone(&progress.get().control))
}

/// Runs `work` on a thread while this one looks for signals; what a handler raises stops `work` and is raised.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    control: &Control,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    detached(py, |interrupted| {
        std::thread::scope(|scope| {
            let (done, result) = channel();
            let worker = std::thread::Builder::new()
                .spawn_scoped(scope, move || {
                    let result = work();
                    // Nobody waits any more only after a panic there.
                    let _ = done.send(());
                    result
                })
                .context("start thread", String::new)?;
            while let Err(RecvTimeoutError::Timeout) = result.recv_timeout(TICK) {
                if interrupted() {
                    control.cancel();
                    break;
                }
            }
            worker.join().unwrap_or_else(|_| {
                Err(Error::new(
                    Kind::System(libc::EIO),
                    "work on",
                    "layer",
                    "thread panicked",
                ))
            })
        })
    })
}

fn ranges(map: &Bound<'_, PyAny>, key: &str) -> PyResult<Vec<owner::Range>> {
    let ranges = map.call_method1("get", (key,))?;
    if ranges.is_none() {
        return Ok(Vec::new());
    }
    let mut out = Vec::new();
    for range in ranges.try_iter()? {
        let values: Vec<u32> = range?
            .try_iter()?
            .map(|value| value?.extract())
            .collect::<PyResult<_>>()?;
        let [inside, outside, len] = values[..] else {
            return Err(invalid(
                "read id map",
                key,
                "a range is (inside, outside, count)",
            ));
        };
        out.push(owner::Range {
            inside,
            outside,
            len,
        });
    }
    Ok(out)
}

/// A map of ids: `uid` and `gid`, each a sequence of (inside, outside, count).
pub fn id_map(map: Option<&Bound<'_, PyAny>>) -> PyResult<IdMap> {
    match map {
        None => Ok(IdMap::default()),
        Some(map) => Ok(IdMap {
            uid: ranges(map, "uid")?,
            gid: ranges(map, "gid")?,
        }),
    }
}

fn compression(name: &str) -> PyResult<Compression> {
    match name {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        other => Err(invalid(
            "compress",
            other,
            "compression is none, gzip or zstd",
        )),
    }
}

fn limits(given: Option<&Bound<'_, PyDict>>) -> PyResult<Limits> {
    let mut limits = Limits::default();
    for (key, value) in given.iter().flat_map(|given| given.iter()) {
        let key: String = key.extract()?;
        match key.as_str() {
            "size" => limits.size = value.extract()?,
            "ratio" => limits.ratio = value.extract()?,
            "ratio_from" => limits.ratio_from = value.extract()?,
            "entries" => limits.entries = value.extract()?,
            "depth" => limits.depth = value.extract()?,
            "path" => limits.path = value.extract()?,
            "metadata" => limits.metadata = value.extract()?,
            "xattrs" => limits.xattrs = value.extract()?,
            "regions" => limits.regions = value.extract()?,
            "time" => {
                let seconds: f64 = value.extract()?;
                let time = Duration::try_from_secs_f64(seconds);
                limits.time = Some(
                    time.map_err(|_| invalid("read limits", "time", "not a number of seconds"))?,
                );
            }
            _ => return Err(invalid("read limits", key, "no such limit")),
        }
    }
    Ok(limits)
}

/// Opens a directory that is the caller's word, not an archive's.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path);
    file.map(OwnedFd::from)
        .context("open", || path.display().to_string())
}

/// Digests and sizes of an unpacked layer; see the stub.
#[pyclass(frozen, get_all, module = "minidock._native")]
pub struct LayerResult {
    diff_id: String,
    tar_size: u64,
    digest: String,
    compressed_size: u64,
    compression: &'static str,
    size: u64,
    entries: u64,
    skipped_xattrs: u64,
}

impl From<Unpacked> for LayerResult {
    fn from(done: Unpacked) -> Self {
        Self {
            diff_id: done.digests.diff_id,
            tar_size: done.digests.size,
            digest: done.digests.digest,
            compressed_size: done.digests.compressed_size,
            compression: done.digests.compression.name(),
            size: done.files_size,
            entries: done.entries,
            skipped_xattrs: done.skipped_xattrs,
        }
    }
}

/// What a layer is read from.
enum Source {
    Fd(OwnedFd),
    Spool(Arc<layer::Spool>),
}

impl Source {
    fn get(op: &'static str, given: &Bound<'_, PyAny>) -> PyResult<Self> {
        match given.cast::<Spool>() {
            Ok(spool) => Ok(Self::Spool(Arc::clone(&spool.get().inner))),
            Err(_) => Ok(Self::Fd(duplicate(op, given.extract()?)?)),
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Self::Fd(fd) => Input::Fd(fd.as_fd()),
            Self::Spool(spool) => Input::Spool(spool),
        }
    }
}

/// Unpacks a layer; see the stub.
#[pyfunction]
#[pyo3(signature = (source, target, *, compression="auto", tar_split=None, whiteouts="overlay", limits=None,
    idmap=None, owners=true, durable=false, progress=None))]
#[allow(clippy::too_many_arguments)]
pub fn unpack_layer(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    target: PathBuf,
    compression: &str,
    tar_split: Option<PathBuf>,
    whiteouts: &str,
    limits: Option<&Bound<'_, PyDict>>,
    idmap: Option<&Bound<'_, PyAny>>,
    owners: bool,
    durable: bool,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<LayerResult> {
    let options = Options {
        compression: match compression {
            "auto" => None,
            name => Some(self::compression(name)?),
        },
        whiteouts: match whiteouts {
            "overlay" => Whiteouts::Overlay,
            "delete" => Whiteouts::Delete,
            other => return Err(invalid("unpack", other, "whiteouts is overlay or delete")),
        },
        limits: self::limits(limits)?,
        map: id_map(idmap)?,
        owner: if owners {
            Owner::Archive
        } else {
            Owner::Caller
        },
        durable,
        ..Options::default()
    };
    let source = Source::get("unpack", source)?;
    let control = control(progress);
    let done = interruptible(py, &control, || {
        let directory = open_directory(&target)?;
        if options.whiteouts == Whiteouts::Overlay
            && !layer::dir::list(&directory, 1)
                .context("read", || target.display().to_string())?
                .is_empty()
        {
            let why = "the directory for a layer is not empty";
            return Err(Error::new(
                Kind::Conflict,
                "unpack",
                target.display().to_string(),
                why,
            ));
        }
        let split = tar_split.map(|path| create_split(&path));
        layer::unpack(
            source.input(),
            directory,
            split.transpose()?,
            &options,
            &control,
        )
    })?;
    Ok(done.into())
}

/// Digests and sizes of a tar that was written; see the stub.
#[pyclass(frozen, get_all, module = "minidock._native")]
pub struct TarResult {
    diff_id: String,
    tar_size: u64,
    digest: String,
    compressed_size: u64,
    compression: &'static str,
}

impl From<Digests> for TarResult {
    fn from(digests: Digests) -> Self {
        Self {
            diff_id: digests.diff_id,
            tar_size: digests.size,
            digest: digests.digest,
            compressed_size: digests.compressed_size,
            compression: digests.compression.name(),
        }
    }
}

/// Writes a tree as a tar; see the stub.
#[pyfunction]
#[pyo3(signature = (source, out, *, compression="none", level=None, idmap=None, clamp=None, top=true,
    left_out=Vec::new(), progress=None))]
#[allow(clippy::too_many_arguments)]
pub fn tar_tree(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    out: i32,
    compression: &str,
    level: Option<u32>,
    idmap: Option<&Bound<'_, PyAny>>,
    clamp: Option<i64>,
    top: bool,
    left_out: Vec<PathBuf>,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<TarResult> {
    let compression = self::compression(compression)?;
    let options = CreateOptions {
        map: id_map(idmap)?,
        clamp,
        top,
        left_out: names(left_out),
    };
    let source: std::result::Result<OwnedFd, PathBuf> = match source.extract() {
        Ok(fd) => Ok(duplicate("write layer", fd)?),
        Err(_) => Err(source.extract()?),
    };
    let out = duplicate("write layer", out)?;
    let control = control(progress);
    let done = interruptible(py, &control, || {
        let top = source.or_else(|path| open_directory(&path))?;
        let sink = Sink::new(out, compression, level, &control)?;
        layer::tar_tree(top, sink, &options, &control)
    });
    Ok(done?.0.into())
}

/// Makes a layer of a tree as it is; see the stub.
#[pyfunction]
#[pyo3(signature = (tree, tar_split, *, left_out=Vec::new(), clamp=None, top=true, progress=None))]
pub fn keep_tree(
    py: Python<'_>,
    tree: PathBuf,
    tar_split: PathBuf,
    left_out: Vec<PathBuf>,
    clamp: Option<i64>,
    top: bool,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<LayerResult> {
    let options = CreateOptions {
        clamp,
        top,
        left_out: names(left_out),
        ..CreateOptions::default()
    };
    let control = control(progress);
    let done = interruptible(py, &control, || {
        let top = open_directory(&tree)?;
        let split = create_split(&tar_split)?;
        layer::keep_tree(top, split, &options, &control)
    })?;
    Ok(done.into())
}

fn names(paths: Vec<PathBuf>) -> HashSet<Vec<u8>> {
    paths
        .into_iter()
        .map(|path| path.into_os_string().into_encoded_bytes())
        .collect()
}

/// Makes the file for a layer's tar-split.
fn create_split(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.context("create", || path.display().to_string())
}

/// Writes an unpacked layer's tar again; see the stub.
#[pyfunction]
#[pyo3(signature = (tree, tar_split, out, *, diff_id=None, compression="none", level=None, progress=None))]
#[allow(clippy::too_many_arguments)]
pub fn reassemble_layer(
    py: Python<'_>,
    tree: PathBuf,
    tar_split: PathBuf,
    out: i32,
    diff_id: Option<String>,
    compression: &str,
    level: Option<u32>,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<TarResult> {
    let compression = self::compression(compression)?;
    let out = duplicate("rebuild layer", out)?;
    let control = control(progress);
    let done = interruptible(py, &control, || {
        let split = File::open(&tar_split).context("open", || tar_split.display().to_string())?;
        let sink = Sink::new(out, compression, level, &control)?;
        layer::reassemble(open_directory(&tree)?, &split, sink, diff_id.as_deref())
    });
    Ok(done?.into())
}

/// Compresses a stream; see the stub.
#[pyfunction]
#[pyo3(signature = (source, out, compression, level=None, *, progress=None))]
pub fn compress_layer(
    py: Python<'_>,
    source: i32,
    out: i32,
    compression: &str,
    level: Option<u32>,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<TarResult> {
    let compression = self::compression(compression)?;
    let (source, out) = (duplicate("compress", source)?, duplicate("compress", out)?);
    let control = control(progress);
    let done = interruptible(py, &control, || {
        layer::compress::copy(source, Sink::new(out, compression, level, &control)?)
    });
    Ok(done?.into())
}

/// Digest of the rest of a file; see the stub.
#[pyfunction]
#[pyo3(signature = (fd, *, progress=None))]
pub fn digest_file(
    py: Python<'_>,
    fd: i32,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<(String, u64)> {
    let fd = duplicate("digest", fd)?;
    let control = control(progress);
    interruptible(py, &control, || layer::digest_file(&fd, &control))
}
