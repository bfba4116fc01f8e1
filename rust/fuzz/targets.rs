//! What the fuzzers run, and `cargo test` on the kept corpora (rust/core/tests/layer_corpus.rs).
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use minidock_core::layer::archive::Archive;
use minidock_core::layer::control::Deadline;
use minidock_core::layer::decompress::Pipeline;
use minidock_core::layer::feed::Feed;
use minidock_core::layer::{
    Compression, Control, CreateOptions, Digests, Input, Limits, Options, Sink, Spool, Whiteouts,
    digest_file, reassemble, remove_tree, tar_tree, unpack,
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

/// Decompressors: no panic; what they accept was read and hashed to its last byte, is the same when it comes bit by
/// bit, and comes out again after it was compressed.
pub fn decompress(data: &[u8]) {
    let file = unnamed(data);
    let spool = Spool::new(unnamed(b"").into(), 0).expect("spool");
    let (whole, pieces) = std::thread::scope(|scope| {
        let pieces = scope.spawn(|| inflate(Input::Spool(&spool)));
        for part in data.chunks(data.len() / 3 + 1) {
            spool.write(part).expect("write");
        }
        spool.finish();
        (
            inflate(Input::Fd(file.as_fd())),
            pieces.join().expect("no panic"),
        )
    });
    assert_eq!(whole.is_ok(), pieces.is_ok());
    let (Ok((out, digests)), Ok((other, same))) = (whole, pieces) else {
        return;
    };
    assert!(out == other);
    let digest = |bytes: &[u8]| digest_file(unnamed(bytes), &Control::default()).expect("digest");
    assert_eq!(
        (digests.digest, digests.compressed_size),
        digest(data),
        "something was not read"
    );
    assert_eq!((digests.diff_id.clone(), digests.size), digest(&out));
    assert_eq!(digests.diff_id, same.diff_id);
    let mut again = unnamed(b"");
    let fd = again.try_clone().expect("duplicate").into();
    let mut sink =
        Sink::new(fd, digests.compression, None, &Arc::new(Control::default())).expect("sink");
    sink.put(&out).expect("compress");
    sink.finish().expect("compress");
    again.rewind().expect("rewind");
    assert!(inflate(Input::Fd(again.as_fd())).expect("own output").0 == out);
}

fn inflate(input: Input<'_>) -> minidock_core::Result<(Vec<u8>, Digests)> {
    std::thread::scope(|scope| {
        let control = Arc::new(Control::default());
        let never = Deadline::after(None);
        let mut pipeline = Pipeline::start(scope, input, None, &limits(), &control, never, true)?;
        let mut out = Vec::new();
        let consumed = {
            let mut next = pipeline.chunks();
            loop {
                match next() {
                    Ok(Some(chunk)) => out.extend_from_slice(chunk.bytes()),
                    Ok(None) => break Ok(out),
                    Err(error) => break Err(error),
                }
            }
        };
        pipeline.finish(consumed)
    })
}

/// Whiteouts that delete: no panic, nothing outside the target goes, and no whiteout is left as a file.
pub fn whiteouts(data: &[u8]) {
    let data = with_checksums(data);
    let tmp = TestDir::new();
    let (target, beside) = (tmp.0.join("target"), tmp.0.join("beside"));
    for dir in ["beside/d", "target/d/e", "target/x", "target/keep"] {
        fs::create_dir_all(tmp.0.join(dir)).expect("create directory");
    }
    for file in [
        "beside/d/f",
        "target/a",
        "target/d/f",
        "target/d/e/g",
        "target/x/y",
    ] {
        fs::write(tmp.0.join(file), b"lower").expect("write");
    }
    std::os::unix::fs::symlink("../beside/d", target.join("out")).expect("link");
    std::os::unix::fs::symlink("d", target.join("in")).expect("link");
    let options = Options {
        limits: limits(),
        compression: Some(Compression::None),
        whiteouts: Whiteouts::Delete,
        ..Options::default()
    };
    let control = Arc::new(Control::default());
    let source = unnamed(&data);
    let done = unpack(source.as_fd(), open(&target), None, &options, &control);
    assert_eq!(fs::read(beside.join("d/f")).expect("read"), b"lower");
    assert_eq!(fs::read_dir(beside.join("d")).expect("read").count(), 1);
    assert_eq!(fs::read_dir(&tmp.0).expect("read").count(), 2);
    if done.is_ok() {
        // It refuses names that mean whiteouts.
        let options = CreateOptions::default();
        written(|sink| {
            tar_tree(open(&target), sink, &options, &control).map(|(digests, _)| digests)
        });
    }
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
