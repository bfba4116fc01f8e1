//! A log in a file that is rotated.
use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstat, ftruncate, openat};
use rustix::io::{Errno, pread};

use super::compress::{Compressing, unfinished, with_suffix};
use super::document::Rotation;
use super::json::Json;
use super::local::{FRAME, Local};
use super::split::Entry;
use crate::{Context, Result};

/// How much is collected for one write.
const COLLECTED: usize = 32 * 1024;
/// What a chunk may leave allocated for the next one.
const KEPT: usize = 8 * 1024;

/// How records are written.
#[derive(Debug)]
pub enum Format {
    /// Lines of JSON.
    Json(Json),
    /// Framed messages.
    Local(Local),
}

/// The current file and those before it, `.1` the newest.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: OwnedFd,
    /// Bytes of the file that are whole records.
    size: u64,
    format: Format,
    rotation: Rotation,
    /// Records that are not in the file yet.
    out: Vec<u8>,
    /// When the last record came.
    last: Option<i64>,
    compressing: Option<Compressing>,
    /// Bytes of a torn record may be behind `size`.
    torn: bool,
    /// A rotation has failed within this chunk.
    stuck: bool,
    lost: u64,
}

fn open(path: &Path, more: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags | more, Mode::from_raw_mode(0o600))
}

impl LogFile {
    /// Opens the file for appending, made if it is not there. What a killed writer left of a record is cut off.
    pub fn open(path: &Path, format: Format, rotation: Rotation) -> Result<Self> {
        let name = || path.display().to_string();
        let file = open(path, OFlags::empty()).context("open log", name)?;
        let length = fstat(&file).context("look at log", name)?.st_size as u64;
        let size = match format {
            Format::Json(_) => last_line(&file, length),
            Format::Local(_) => last_frame(&file, length),
        }
        .context("read log", name)?;
        if size != length {
            ftruncate(&file, size).context("cut torn record from log", name)?;
        }
        let mut log = Self {
            path: path.to_owned(),
            file,
            size,
            format,
            rotation,
            out: Vec::new(),
            last: None,
            compressing: None,
            torn: false,
            stuck: false,
            lost: 0,
        };
        let rotated = log.numbered(1, "");
        if log.compresses() && rotated.exists() {
            let _ = fs::remove_file(unfinished(&rotated));
            log.compressing = Compressing::start(&rotated, None).ok();
        }
        Ok(log)
    }

    fn compresses(&self) -> bool {
        self.rotation.compress && self.rotation.max_file > 1
    }

    /// Adds one record; it is in the file after [`Self::flush`].
    pub fn append(&mut self, entry: &Entry<'_>) {
        let max_size = self.rotation.max_size;
        let full = |size| max_size.is_some_and(|max| size >= max);
        if full(self.size + self.out.len() as u64) && !self.stuck {
            self.write_out();
            // Less than expected may have come into the file.
            if full(self.size) {
                self.rotate();
            }
        } else if self.out.len() >= COLLECTED {
            self.write_out();
        }
        match &mut self.format {
            Format::Json(json) => json.encode(&mut self.out, entry),
            Format::Local(local) => local.encode(&mut self.out, entry),
        }
        self.last = Some(entry.time);
    }

    /// Writes what is collected.
    pub fn flush(&mut self) {
        self.write_out();
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
        self.stuck = false;
    }

    /// Whether a rotation is due that has to wait for the compression of the file before.
    #[must_use]
    pub fn waits(&self) -> bool {
        let size = self.size + self.out.len() as u64;
        self.rotation.max_size.is_some_and(|max| size >= max)
            && self.compressing.as_ref().is_some_and(|it| !it.ended())
    }

    /// Readable when that compression has ended.
    #[must_use]
    pub fn compressing(&self) -> Option<BorrowedFd<'_>> {
        self.compressing.as_ref().map(Compressing::fd)
    }

    /// Records that could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes all that is collected, or as many whole records as fit.
    fn write_out(&mut self) {
        let mut at = 0;
        if self.torn && !self.mend() {
            self.lose(0);
            return;
        }
        while at < self.out.len() {
            match rustix::io::write(&self.file, &self.out[at..]) {
                Ok(n) if n > 0 => at += n,
                Err(Errno::INTR) => {}
                // Full, or broken: what is not in the file is lost, and a later record may fit again.
                Ok(_) | Err(_) => break,
            }
        }
        let whole = self.whole(at);
        self.size += whole as u64;
        if at > whole {
            self.torn = true;
            self.mend();
        }
        if whole < self.out.len() {
            self.lose(whole);
        }
        self.out.clear();
    }

    /// Cuts off the beginning of a record; whether that went well.
    fn mend(&mut self) -> bool {
        self.torn = ftruncate(&self.file, self.size).is_err();
        !self.torn
    }

    /// How many of the first `length` bytes collected are whole records.
    fn whole(&self, length: usize) -> usize {
        if length == self.out.len() {
            return length;
        }
        match self.format {
            Format::Json(_) => {
                memchr::memrchr(b'\n', &self.out[..length]).map_or(0, |newline| newline + 1)
            }
            Format::Local(_) => frames(&self.out[..length]).0,
        }
    }

    /// Counts the records from `from` on, and forgets them.
    fn lose(&mut self, from: usize) {
        let rest = &self.out[from..];
        self.lost += match self.format {
            Format::Json(_) => memchr::memchr_iter(b'\n', rest).count() as u64,
            Format::Local(_) => frames(rest).1,
        };
        self.out.clear();
    }

    fn numbered(&self, number: u32, suffix: &str) -> PathBuf {
        with_suffix(&self.path, &format!(".{number}{suffix}"))
    }

    /// Makes the current file the newest of the old ones, and begins a new one.
    fn rotate(&mut self) {
        if self.compressing.as_ref().is_some_and(|it| !it.ended()) {
            return;
        }
        self.compressing = None;
        let old = self.rotation.max_file.max(1) - 1;
        if old == 0 {
            let _ = fs::remove_file(&self.path);
        } else {
            // Compressed or not: an option may have changed between two starts, and a compression may have failed.
            for suffix in ["", ".gz"] {
                let _ = fs::remove_file(self.numbered(old, suffix));
                for number in (1..old).rev() {
                    let _ = fs::rename(
                        self.numbered(number, suffix),
                        self.numbered(number + 1, suffix),
                    );
                }
            }
            let _ = fs::rename(&self.path, self.numbered(1, ""));
        }
        match open(&self.path, OFlags::EXCL) {
            Ok(file) => {
                self.file = file;
                self.size = 0;
                self.torn = false;
            }
            // The old file goes on under its old name, where readers look for it.
            Err(_) => {
                self.stuck = true;
                let _ = fs::rename(self.numbered(1, ""), &self.path);
                return;
            }
        }
        if self.compresses() {
            self.compressing = Compressing::start(&self.numbered(1, ""), self.last).ok();
        }
    }
}

/// Where the last whole line of a file ends.
fn last_line(file: &OwnedFd, length: u64) -> rustix::io::Result<u64> {
    let mut buffer = [0; 4096];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..(end - start) as usize];
        read_exact(file, part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Where the last whole frame of a file ends. All are looked at from the first one on: a container's line may hold what
/// looks like the end of a frame, and a killed writer may have stopped just there.
fn last_frame(file: &OwnedFd, length: u64) -> rustix::io::Result<u64> {
    let mut buffer = vec![0; COLLECTED];
    let (mut start, mut filled) = (0, 0);
    let mut number = |at: u64| -> rustix::io::Result<u64> {
        if at < start || at + 4 > start + filled {
            start = at;
            filled = (length - at).min(buffer.len() as u64);
            read_exact(file, &mut buffer[..filled as usize], start)?;
        }
        let at = (at - start) as usize;
        let bytes = buffer[at..at + 4].iter();
        Ok(bytes.fold(0, |sum, &c| sum << 8 | u64::from(c)) + FRAME as u64)
    };
    let mut whole = 0;
    while whole + FRAME as u64 <= length {
        let frame = number(whole)?;
        let end = whole + frame;
        // No record is empty: zeros are what a crash of the machine leaves.
        if frame == FRAME as u64 || end > length || number(end - 4)? != frame {
            break;
        }
        whole = end;
    }
    Ok(whole)
}

fn read_exact(file: &OwnedFd, buffer: &mut [u8], at: u64) -> rustix::io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match pread(file, &mut buffer[done..], at + done as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The bytes and the number of the whole frames at the beginning.
fn frames(data: &[u8]) -> (usize, u64) {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = data.get(at..at + 4) {
        let length = length.iter().fold(0, |sum, &c| sum << 8 | usize::from(c));
        if at + length + FRAME > data.len() {
            break;
        }
        at += length + FRAME;
        count += 1;
    }
    (at, count)
}
