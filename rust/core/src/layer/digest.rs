//! SHA-256 as OCI writes it.
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use sha2::{Digest as _, Sha256};

use super::control::{Control, may_wait, wait};
use crate::{Context, Result};

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
}
