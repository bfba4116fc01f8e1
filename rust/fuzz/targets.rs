//! What the fuzzers run, and `cargo test` on the kept corpora (rust/core/tests/layer_corpus.rs).
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use minidock_core::layer::archive::Archive;
use minidock_core::layer::feed::Feed;
use minidock_core::layer::{
    Compression, Control, CreateOptions, Limits, Options, Sink, reassemble, remove_tree, tar_tree,
    unpack,
};

/// The parser: no panic, and never more content than there is input.
pub fn tar_parse(data: &[u8]) {
    let data = with_checksums(data);
    let mut archive = Archive::new(Feed::from_bytes(&data), limits());
    let mut total = 0;
    while let Ok(Some(entry)) = archive.next_entry() {
        let sparse: u64 = entry.sparse.iter().flatten().map(|region| region.len).sum();
        assert!(entry.sparse.is_none() || sparse == entry.stored);
        assert!(entry.size >= entry.stored || entry.sparse.is_none());
        while let Ok(Some(slice)) = archive.content(u64::MAX) {
            total += slice.len();
        }
        if archive.content_left() > 0 {
            break;
        }
    }
    assert!(total <= data.len());
}

/// Unpacking: nothing outside the target changes; what unpacks is written again byte for byte; and the tree's own tar
/// unpacks to the same tree.
pub fn unpack_archive(data: &[u8]) {
    let data = with_checksums(data);
    let tmp = TestDir::new();
    let (one, two, beside) = (tmp.0.join("one"), tmp.0.join("two"), tmp.0.join("beside"));
    for dir in [&one, &two, &beside] {
        fs::create_dir(dir).expect("create directory");
    }
    fs::write(beside.join("keep"), b"keep").expect("write");
    let before = fs::metadata(&beside)
        .expect("stat")
        .modified()
        .expect("time");
    let split = unnamed(b"");
    let kept = split.try_clone().expect("duplicate");
    if let Ok(done) = unpack_into(&data, &one, Some(split)) {
        let (again, diff_id) = written(|sink| reassemble(open(&one), &kept, sink, Some(&done)));
        assert_eq!(diff_id, done);
        assert!(again == data);
        // A name that starts with .wh. cannot be on disk.
        let options = CreateOptions {
            top: true,
            ..CreateOptions::default()
        };
        let tree = |path: &Path| {
            written(|sink| {
                tar_tree(open(path), sink, &options, &Control::default())
                    .map(|(digests, _)| digests)
            })
        };
        let (tar, diff_id) = tree(&one);
        unpack_into(&tar, &two, None).expect("own tar unpacks");
        assert_eq!(tree(&two).1, diff_id);
    }
    assert_eq!(fs::read(beside.join("keep")).expect("read"), b"keep");
    assert_eq!(
        fs::metadata(&beside)
            .expect("stat")
            .modified()
            .expect("time"),
        before
    );
    let names = fs::read_dir(&tmp.0).expect("read").count();
    assert_eq!(names, 3);
}

/// A tar-split file: no panic, and nothing outside the tree is read.
pub fn tar_split(data: &[u8]) {
    let tmp = TestDir::new();
    fs::write(tmp.0.join("file"), b"content").expect("write");
    let control = Arc::new(Control::default());
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .expect("open")
        .into();
    let sink = Sink::new(null, Compression::None, None, &control).expect("sink");
    let _ = reassemble(open(&tmp.0), &unnamed(data), sink, None);
}

fn limits() -> Limits {
    Limits {
        size: 64 << 20,
        ratio_from: 64 << 20,
        depth: 64,
        ..Limits::default()
    }
}

fn unpack_into(data: &[u8], target: &Path, split: Option<File>) -> minidock_core::Result<String> {
    let options = Options {
        limits: limits(),
        compression: Some(Compression::None),
        ..Options::default()
    };
    let source = unnamed(data);
    let done = unpack(
        source.as_fd(),
        open(target),
        split,
        &options,
        &Arc::new(Control::default()),
    )?;
    Ok(done.digests.diff_id)
}

fn written(
    write: impl FnOnce(Sink) -> minidock_core::Result<minidock_core::layer::Digests>,
) -> (Vec<u8>, String) {
    let mut out = unnamed(b"");
    let fd: OwnedFd = out.try_clone().expect("duplicate").into();
    let sink = Sink::new(fd, Compression::None, None, &Arc::new(Control::default())).expect("sink");
    let digests = write(sink).expect("write layer");
    let mut bytes = Vec::new();
    out.rewind().expect("rewind");
    out.read_to_end(&mut bytes).expect("read");
    (bytes, digests.diff_id)
}

/// Makes the checksum right wherever a header may be, or the fuzzer would never get past it.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    data
}

fn open(path: &Path) -> OwnedFd {
    File::open(path).expect("open directory").into()
}

/// A file without a name.
fn unnamed(data: &[u8]) -> File {
    let path = TestDir::name("file");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("create");
    fs::remove_file(&path).expect("unlink");
    file.write_all(data).expect("write");
    file.rewind().expect("rewind");
    file
}

static NEXT: AtomicU32 = AtomicU32::new(0);

struct TestDir(PathBuf);

impl TestDir {
    fn name(kind: &str) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!(
            "minidock-fuzz-{kind}-{}-{number}",
            std::process::id()
        ))
    }

    fn new() -> Self {
        let path = Self::name("dir");
        fs::create_dir(&path).expect("create directory");
        Self(path)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = remove_tree(&self.0, None, &Control::default());
    }
}
