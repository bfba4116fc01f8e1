//! SHA-256 as OCI writes it.
use std::os::fd::AsFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::event::PollFlags;
use sha2::{Digest as _, Sha256};

use super::control::{Control, may_wait, wait};
use super::feed::{CHUNK, Chunk, Pool};
use crate::{Context, Error, Kind, Result};

/// Chunks that may wait for the thread.
const QUEUE: usize = 8;

/// `sha256:` and 64 hexadecimal digits.
#[must_use]
pub fn format(hash: Sha256) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash.finalize() {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    text
}

/// Reads `fd` from its offset to its end; returns digest and length in bytes.
pub fn digest_file(fd: impl AsFd, control: &Control) -> Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let waits = may_wait(fd.as_fd());
    let mut buf = vec![0_u8; 1 << 18];
    loop {
        control.check()?;
        if waits {
            wait(&fd, PollFlags::IN, || control.check())?;
        }
        let n = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut buf[..]))
            .context("read", || "file to digest")?;
        if n == 0 {
            return Ok((format(hash), size));
        }
        hash.update(&buf[..n]);
        size += n as u64;
        control
            .read
            .store(size, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A digest made by a thread of its own, while the caller reads on.
pub struct Hasher {
    pool: Pool,
    chunks: SyncSender<Chunk>,
    thread: JoinHandle<Sha256>,
}

impl Hasher {
    /// Starts the thread.
    pub fn start() -> Result<Self> {
        let (chunks, queue) = sync_channel::<Chunk>(QUEUE);
        let work = move || {
            let mut hash = Sha256::new();
            for chunk in queue {
                hash.update(chunk.bytes());
            }
            hash
        };
        Ok(Self {
            pool: Pool::default(),
            chunks,
            thread: std::thread::Builder::new()
                .spawn(work)
                .context("start thread", String::new)?,
        })
    }

    /// Adds a copy of `bytes`.
    pub fn update(&self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(CHUNK) {
            let mut buf = self.pool.take();
            buf[..part.len()].copy_from_slice(part);
            let chunk = self.pool.chunk(buf, part.len());
            self.chunks.send(chunk).map_err(|_| failed())?;
        }
        Ok(())
    }

    /// Waits for the thread.
    pub fn finish(self) -> Result<Sha256> {
        drop(self.chunks);
        self.thread.join().map_err(|_| failed())
    }
}

fn failed() -> Error {
    Error::new(
        Kind::System(libc::EIO),
        "digest",
        "layer",
        "hash thread failed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        assert_eq!(
            format(Sha256::new_with_prefix(b"abc")),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_thread_says_the_same() {
        let data = vec![7; 3 * CHUNK + 5];
        let hasher = Hasher::start().unwrap();
        for part in data.chunks(CHUNK + 1) {
            hasher.update(part).unwrap();
        }
        assert_eq!(
            format(hasher.finish().unwrap()),
            format(Sha256::new_with_prefix(&data))
        );
    }
}
