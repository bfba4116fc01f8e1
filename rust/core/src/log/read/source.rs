//! One file of a log, record by record from some place on.
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;

use flate2::read::GzDecoder;
use rustix::io::{Errno, pread};

use super::files::{Opened, damaged, gunzip};
use super::record::{Format, LARGEST, Record, Step};
use crate::{Context, Error, Kind, Result};

/// How much is read at once.
const CHUNK: usize = 1 << 17;
const FRAME: u64 = super::super::local::FRAME as u64;

/// A file that is being read.
#[derive(Debug)]
pub struct Source {
    name: String,
    format: Format,
    input: Input,
    /// What was read and not handed out yet is behind `at`.
    buffer: Vec<u8>,
    at: usize,
    /// Records that are passed over.
    skip: u64,
    /// Nothing more was there at the last look.
    ended: bool,
}

#[derive(Debug)]
enum Input {
    Plain {
        file: OwnedFd,
        /// Where the buffer ends in the file.
        offset: u64,
        /// What is behind this is of no interest.
        limit: u64,
    },
    Gzip(Box<GzDecoder<BufReader<File>>>),
}

impl Source {
    /// Reads a file from `start` on, which is 0 for a compressed one.
    pub fn open(opened: Opened, format: Format, start: u64, skip: u64) -> Result<Self> {
        let name = opened.path.display().to_string();
        let input = if opened.compressed {
            Input::Gzip(Box::new(gunzip(&opened)?))
        } else {
            let (file, offset, limit) = (opened.file, start, u64::MAX);
            Input::Plain {
                file,
                offset,
                limit,
            }
        };
        Ok(Self {
            name,
            format,
            input,
            buffer: Vec::new(),
            at: 0,
            skip,
            ended: false,
        })
    }

    /// Reads no further than to here.
    pub fn limit(&mut self, size: u64) {
        if let Input::Plain { limit, .. } = &mut self.input {
            *limit = size;
        }
    }

    /// The size of the file now; None for a compressed one.
    pub fn size(&self) -> Option<u64> {
        match &self.input {
            Input::Plain { file, .. } => rustix::fs::fstat(file)
                .ok()
                .map(|found| found.st_size as u64),
            Input::Gzip(_) => None,
        }
    }

    /// Hands records to `take` until that returns false or no whole record is left; true in that case.
    ///
    /// # Errors
    /// `Corrupt` for a file in which no record can be found any more, and those of reading.
    pub fn read(&mut self, take: &mut dyn FnMut(&Record<'_>) -> bool) -> Result<bool> {
        loop {
            match self.format.step(&self.buffer[self.at..]) {
                Step::Record(record, used) => {
                    self.at += used;
                    if self.skip > 0 {
                        self.skip -= 1;
                    } else if !take(&record) {
                        return Ok(false);
                    }
                }
                Step::Damaged(used) => self.at += used,
                Step::More => {
                    if std::mem::take(&mut self.ended) {
                        self.forget_rest();
                        return Ok(true);
                    }
                    self.fill()?;
                }
                Step::Lost => {
                    return Err(self.corrupt("a damaged record, and no way to find the next one"));
                }
            }
        }
    }

    /// The beginning of a record at the end of the file is read again when it is complete: a writer that has no room for
    /// the rest cuts it off again.
    fn forget_rest(&mut self) {
        if let Input::Plain { offset, .. } = &mut self.input {
            *offset -= (self.buffer.len() - self.at) as u64;
        }
        self.buffer.clear();
        self.at = 0;
    }

    fn fill(&mut self) -> Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let start = self.buffer.len();
        if start > LARGEST + CHUNK {
            return Err(self.corrupt("a record that is too large"));
        }
        let mut wanted = CHUNK.max(start);
        if let Input::Plain { offset, limit, .. } = &self.input {
            wanted = wanted.min(usize::try_from(limit.saturating_sub(*offset)).unwrap_or(wanted));
        }
        self.buffer.resize(start + wanted, 0);
        let got = match &mut self.input {
            Input::Plain { file, offset, .. } => loop {
                match pread(&*file, &mut self.buffer[start..], *offset) {
                    Err(Errno::INTR) => {}
                    read => {
                        let got = read.context("read log", || &self.name)?;
                        *offset += got as u64;
                        break got;
                    }
                }
            },
            Input::Gzip(decoder) => match read_full(decoder, &mut self.buffer[start..]) {
                Ok(got) => got,
                Err(error) => return Err(self.corrupt(&error.to_string())),
            },
        };
        self.buffer.truncate(start + got);
        self.ended = got < wanted || wanted == 0;
        Ok(())
    }

    fn corrupt(&self, why: &str) -> Error {
        Error::new(Kind::Corrupt, "read log", &self.name, why)
    }
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match from.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Where the last `wanted` records of a file begin, and how many there are, if there are fewer.
///
/// For a compressed file that is how many records come before them, since it has to be read from its beginning anyway.
pub fn tail(opened: &Opened, format: Format, wanted: u64) -> Result<(u64, u64)> {
    if opened.compressed {
        let mut all = 0u64;
        let again = Opened {
            path: opened.path.clone(),
            inode: opened.inode,
            file: opened
                .file
                .try_clone()
                .context("open log", || opened.path.display().to_string())?,
            ..*opened
        };
        Source::open(again, format, 0, 0)?.read(&mut |_| {
            all += 1;
            true
        })?;
        return Ok((all.saturating_sub(wanted), all.min(wanted)));
    }
    match format {
        Format::Json => tail_lines(opened, wanted),
        Format::Local => tail_frames(opened, wanted),
    }
}

fn read_at(opened: &Opened, buffer: &mut [u8], at: u64) -> Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match pread(&opened.file, &mut buffer[done..], at + done as u64) {
            Ok(0) => return Err(damaged(opened, "shorter than it was")),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(error) => {
                return Err(error).context("read log", || opened.path.display().to_string());
            }
        }
    }
    Ok(())
}

/// Counts newlines from the end; what is behind the last one is no record.
fn tail_lines(opened: &Opened, wanted: u64) -> Result<(u64, u64)> {
    let mut buffer = vec![0; CHUNK.min(opened.size as usize)];
    let (mut end, mut newlines) = (opened.size, 0);
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..(end - start) as usize];
        read_at(opened, part, start)?;
        for at in memchr::memrchr_iter(b'\n', part) {
            newlines += 1;
            if newlines > wanted {
                return Ok((start + at as u64 + 1, wanted));
            }
        }
        end = start;
    }
    Ok((0, newlines))
}

/// Goes back from frame to frame by the lengths at their ends.
fn tail_frames(opened: &Opened, wanted: u64) -> Result<(u64, u64)> {
    let mut end = match frame_before(opened, opened.size)? {
        Some(_) => opened.size,
        // Torn, or just being written.
        None => last_frame(opened)?,
    };
    let mut count = 0;
    while count < wanted && end > 0 {
        end = frame_before(opened, end)?.ok_or_else(|| damaged(opened, "a damaged record"))?;
        count += 1;
    }
    Ok((end, count))
}

/// Where the frame begins that ends here; None if there is none.
fn frame_before(opened: &Opened, end: u64) -> Result<Option<u64>> {
    let mut last = [0; 4];
    if end < FRAME {
        return Ok(None);
    }
    read_at(opened, &mut last, end - 4)?;
    let size = u64::from(u32::from_be_bytes(last)) + FRAME;
    let Some(start) = end.checked_sub(size).filter(|_| size > FRAME) else {
        return Ok(None);
    };
    let mut first = [0; 4];
    read_at(opened, &mut first, start)?;
    Ok((first == last).then_some(start))
}

/// Where the last whole frame ends, looked for from the first one on.
fn last_frame(opened: &Opened) -> Result<u64> {
    let mut at = 0;
    while at + FRAME <= opened.size {
        let mut size = [0; 4];
        read_at(opened, &mut size, at)?;
        let next = at + u64::from(u32::from_be_bytes(size)) + FRAME;
        if next == at + FRAME || next > opened.size {
            break;
        }
        at = next;
    }
    Ok(at)
}
