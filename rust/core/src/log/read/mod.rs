//! Reading the logs of containers, while they are written or afterwards, minidock's or Docker's.

mod files;
mod json;
mod local;
mod record;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod watch;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use record::{Attributes, Format, Record};
pub use text::{Style, Text};

use super::split::Stream;
use crate::stop::Stop;
use crate::{Context, Result};
use files::{Header, Opened, inode, snapshot};
use source::{Source, tail};
use watch::Watch;

/// A batch ends with the record that makes it larger than this.
const BATCH: usize = 1 << 18;
/// How long is waited for a file that its writer is about to make.
const SOON: Duration = Duration::from_millis(50);

/// What is read of a log.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The last so many records only, counted before anything else is looked at, as in Docker.
    pub tail: Option<u64>,
    /// None that came before; nanoseconds since 1970.
    pub since: Option<i64>,
    /// None that came after: the first one ends the log.
    pub until: Option<i64>,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// What comes later too, until [`Reader::stop_following`].
    pub follow: bool,
}

/// One record on its own.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where it came from.
    pub stream: Stream,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// With its newline, unless it is a part of a longer line.
    pub data: Vec<u8>,
    /// None without any.
    pub attributes: Option<Arc<Attributes>>,
}

/// What a wait for more has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Records, perhaps.
    Some,
    /// None now: something has happened, or the time is over.
    NotYet,
    /// None ever.
    End,
}

/// A log that is being read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    format: Format,
    wanted: Wanted,
    /// Files still to be read, oldest first.
    files: VecDeque<Source>,
    /// The inode of the last file, by which its successors are found.
    newest: Option<files::Inode>,
    watch: Option<Watch>,
    ended: bool,
    /// The attributes of the last record, as text and decoded: they hardly ever change.
    known: Option<(Vec<u8>, Arc<Attributes>)>,
}

impl Reader {
    /// Opens a log and finds the first record that is wanted. A log that is not there is empty.
    ///
    /// To follow it, `directory` is watched too (that of the supervisor's pid file), and a pidfd.
    ///
    /// # Errors
    /// Those of opening and reading; `Corrupt` for what is no log.
    pub fn open(
        path: &Path,
        format: Format,
        wanted: Wanted,
        directory: Option<&Path>,
        process: Option<OwnedFd>,
    ) -> Result<Self> {
        let watch = wanted.follow.then(|| {
            let mut watched: Vec<&Path> = path.parent().into_iter().collect();
            watched.extend(directory);
            Watch::new(&watched, process)
        });
        let mut reader = Self {
            path: path.to_owned(),
            format,
            wanted,
            files: VecDeque::new(),
            newest: None,
            watch,
            ended: false,
            known: None,
        };
        reader.begin()?;
        Ok(reader)
    }

    /// Opens the files, and goes to the first record of the tail.
    fn begin(&mut self) -> Result<()> {
        let mut left = self.wanted.tail;
        for opened in snapshot(&self.path, None)? {
            self.newest = self.newest.or(Some(opened.inode));
            let size = opened.size;
            let (place, count) = match left {
                Some(wanted) => tail(&opened, self.format, wanted)?,
                None => (0, 0),
            };
            if left == Some(0) && !self.files.is_empty() {
                break;
            }
            left = left.map(|left| left - count);
            if self.is_too_old(&opened) {
                continue;
            }
            let compressed = opened.compressed;
            let (start, skip) = if compressed { (0, place) } else { (place, 0) };
            let mut source = Source::open(opened, self.format, start, skip)?;
            if !self.wanted.follow {
                source.limit(size);
            }
            self.files.push_front(source);
        }
        Ok(())
    }

    /// Whether a compressed file says that all of it came before what is wanted.
    fn is_too_old(&self, opened: &Opened) -> bool {
        let last = || Header::read(opened).ok()?.last;
        match self.wanted.since {
            Some(since) if opened.compressed => last().is_some_and(|last| last < since),
            _ => false,
        }
    }

    /// Whether the process of [`Self::open`] is there, as far as is known.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::has_process)
    }

    /// What makes a wait for records in another thread end at once; nothing where none are waited for.
    pub fn stop(&mut self) -> Result<Option<Arc<Stop>>> {
        let stop = self.watch.as_mut().map(Watch::stop).transpose();
        stop.context("follow log", || self.path.display().to_string())
    }

    /// The container has ended: what its log holds now is all that is wanted.
    pub fn stop_following(&mut self) -> Result<()> {
        self.look_for_successors()?;
        self.watch = None;
        if let Some(newest) = self.files.back_mut()
            && let Some(size) = newest.size()
        {
            newest.limit(size);
        }
        Ok(())
    }

    /// Reads a batch of records as text; waits for the first one for `limit`.
    pub fn text(
        &mut self,
        style: Style,
        limit: Duration,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<(Text, More)> {
        let mut text = Text::default();
        let more = self.wait(limit, interrupted, &mut |record, attributes| {
            text.push(style, record, attributes);
            text.size < BATCH
        })?;
        Ok((text, more))
    }

    /// Reads a batch of records; waits for the first one for `limit`.
    pub fn lines(
        &mut self,
        limit: Duration,
        interrupted: &mut dyn FnMut() -> bool,
    ) -> Result<(Vec<Line>, More)> {
        let mut lines = Vec::new();
        let mut size = 0;
        let more = self.wait(limit, interrupted, &mut |record, attributes| {
            size += record.data.len() + size_of::<Line>();
            lines.push(Line {
                stream: record.stream,
                time: record.time,
                data: record.data.to_vec(),
                attributes: attributes.cloned(),
            });
            size < BATCH
        })?;
        Ok((lines, more))
    }

    fn wait(
        &mut self,
        limit: Duration,
        interrupted: &mut dyn FnMut() -> bool,
        take: &mut dyn FnMut(&Record<'_>, Option<&Arc<Attributes>>) -> bool,
    ) -> Result<More> {
        let end = Instant::now() + limit;
        let mut any = false;
        self.advance(&mut |record, attributes| {
            any = true;
            take(record, attributes)
        })?;
        if any {
            return Ok(More::Some);
        }
        let Some(watch) = &mut self.watch else {
            return Ok(More::End);
        };
        if self.ended {
            return Ok(More::End);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(More::NotYet);
        }
        let here = !self.files.is_empty();
        let had = watch.has_process();
        if !watch.wait(if here { left } else { left.min(SOON) }) && interrupted() {
            return Ok(More::NotYet);
        }
        if had && !watch.has_process() {
            return Ok(More::NotYet);
        }
        // The pid file may have changed: the caller looks at it after every event that brings no record.
        self.advance(&mut |record, attributes| {
            any = true;
            take(record, attributes)
        })?;
        Ok(if any { More::Some } else { More::NotYet })
    }

    /// Hands out the records that are there, up to the one that `take` returns false for.
    fn advance(
        &mut self,
        take: &mut dyn FnMut(&Record<'_>, Option<&Arc<Attributes>>) -> bool,
    ) -> Result<()> {
        while !self.ended {
            let last = self.files.len() <= 1;
            // Before it is read to its end: a file that was rotated by then gets no more records.
            let rotated = last && self.watch.is_some() && self.newest != inode(&self.path);
            let (known, wanted, format) = (&mut self.known, &self.wanted, self.format);
            let ended = &mut self.ended;
            let mut take = |record: &Record<'_>| {
                if wanted.until.is_some_and(|until| record.time > until) {
                    *ended = true;
                    return false;
                }
                let stream = match record.stream {
                    Stream::Stdout => wanted.stdout,
                    Stream::Stderr => wanted.stderr,
                };
                if !stream || wanted.since.is_some_and(|since| record.time < since) {
                    return true;
                }
                take(record, attributes(known, format, record))
            };
            if let Some(source) = self.files.front_mut()
                && !source.read(&mut take)?
            {
                return Ok(());
            }
            if !last {
                self.files.pop_front();
            } else if !rotated || !self.look_for_successors()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Opens the files that have come after the newest one that is known; whether there are any.
    fn look_for_successors(&mut self) -> Result<bool> {
        let new = snapshot(&self.path, self.newest)?;
        // Without a current file its writer is about to make it: later, then, with all that comes between.
        let Some(newest) = new.first().filter(|opened| opened.path == self.path) else {
            return Ok(false);
        };
        self.newest = Some(newest.inode);
        for opened in new.into_iter().rev() {
            self.files
                .push_back(Source::open(opened, self.format, 0, 0)?);
        }
        Ok(true)
    }
}

/// The attributes of a record, decoded only when they are others than before.
fn attributes<'a>(
    known: &'a mut Option<(Vec<u8>, Arc<Attributes>)>,
    format: Format,
    record: &Record<'_>,
) -> Option<&'a Arc<Attributes>> {
    if record.attributes.is_empty() {
        return None;
    }
    if known
        .as_ref()
        .is_none_or(|(text, _)| text[..] != record.attributes[..])
    {
        let decoded = Arc::new(format.attributes(&record.attributes));
        *known = Some((record.attributes.to_vec(), decoded));
    }
    known.as_ref().map(|(_, decoded)| decoded)
}
