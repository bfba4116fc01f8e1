//! What the fuzzers of the log reader run, and `cargo test` on the kept corpus (rust/core/tests/log_corpus.rs).
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use minidock_core::log::read::{Format, Line, More, Reader, Wanted};

/// Any file, of either format, current, rotated or compressed: no panic, an end, and never more than its bytes can hold.
pub fn log_reader(data: &[u8]) {
    let dir = TestDir::new();
    let path = dir.0.join("log");
    for name in ["log", "log.1", "log.2.gz"] {
        fs::write(dir.0.join(name), data).expect("write");
    }
    for format in [Format::Json, Format::Local] {
        let all = read(&path, format, None);
        let bytes: usize = all.iter().flatten().map(|line| line.data.len()).sum();
        // Both plain files are read; what is compressed may be a thousand times larger.
        assert!(bytes <= 1200 * data.len());
        for tail in [0, 1, 3] {
            let Some(some) = read(&path, format, Some(tail)) else {
                continue;
            };
            assert!(some.len() as u64 <= tail);
        }
    }
}

fn read(path: &std::path::Path, format: Format, tail: Option<u64>) -> Option<Vec<Line>> {
    let wanted = Wanted {
        tail,
        stdout: true,
        stderr: true,
        ..Wanted::default()
    };
    let mut reader = Reader::open(path, format, wanted, None, None).ok()?;
    let mut all = Vec::new();
    loop {
        let (lines, more) = reader.lines(Duration::ZERO, &mut || false).ok()?;
        all.extend(lines);
        if more == More::End {
            return Some(all);
        }
    }
}

/// A directory that goes at the end.
struct TestDir(PathBuf);

impl TestDir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("minidock-fuzz-log-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("create directory");
        Self(path)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
