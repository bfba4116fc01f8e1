//! The files of a log at one moment, although its writer may rotate them meanwhile.
use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, stat};
use rustix::io::Errno;

use super::super::compress::{ORIGINAL, with_suffix};
use super::super::time;
use crate::{Context, Error, Kind, Result};

/// How often the files are looked at anew when they change meanwhile.
const TRIES: u32 = 100;
/// No log has more files; the loop over the names ends here.
const MOST: u32 = 10_000;
/// So many names without a file end the search: Docker and minidock leave no larger gaps.
const GAP: u32 = 2;

/// A file by its inode, which a rename does not change. That of a compressed file is the one that it was made from.
pub type Inode = u64;

/// One file, opened.
#[derive(Debug)]
pub struct Opened {
    pub path: PathBuf,
    pub inode: Inode,
    pub file: OwnedFd,
    pub compressed: bool,
    /// Its size when it was opened.
    pub size: u64,
}

/// A name of the log, and what was behind it.
struct Seen {
    path: PathBuf,
    inode: Option<Inode>,
}

fn open(path: &Path) -> Result<Option<(OwnedFd, Inode, u64)>> {
    let name = || path.display().to_string();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened.context("open log", name)?,
    };
    let found = fstat(&file).context("look at log", name)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Error::new(
            Kind::Corrupt,
            "open log",
            name(),
            "not a regular file",
        ));
    }
    Ok(Some((file, found.st_ino, found.st_size as u64)))
}

/// The inode behind a name now.
pub fn inode(path: &Path) -> Option<Inode> {
    stat(path).ok().map(|found| found.st_ino)
}

/// Opens the files of a log, the current one first, then `.1` and so on, up to the one that is `known` and no part of the
/// result. Those that are not there are left out.
pub fn snapshot(path: &Path, known: Option<Inode>) -> Result<Vec<Opened>> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut seen = Vec::new();
        let files = look(path, known, &mut seen)?;
        // Every name still means the same file: all of them were there together at the end of the search.
        if tries == TRIES || seen.iter().all(|name| inode(&name.path) == name.inode) {
            return Ok(files);
        }
    }
}

fn look(path: &Path, known: Option<Inode>, seen: &mut Vec<Seen>) -> Result<Vec<Opened>> {
    let mut files: Vec<Opened> = Vec::new();
    let (mut number, mut missing) = (0, 0);
    while number < MOST && missing <= GAP {
        let plain = match number {
            0 => path.to_owned(),
            _ => with_suffix(path, &format!(".{number}")),
        };
        let mut found = false;
        for compressed in [false, true] {
            if found || (compressed && number == 0) {
                continue;
            }
            let path = if compressed {
                with_suffix(&plain, ".gz")
            } else {
                plain.clone()
            };
            let opened = open(&path)?;
            let inode = opened.as_ref().map(|opened| opened.1);
            seen.push(Seen {
                path: path.clone(),
                inode,
            });
            let Some((file, inode, size)) = opened else {
                continue;
            };
            found = true;
            let mut opened = Opened {
                path,
                inode,
                file,
                compressed,
                size,
            };
            if compressed {
                // One that cannot be read is found out about when it is its turn.
                let header = Header::read(&opened).ok();
                opened.inode = header.and_then(|header| header.original).unwrap_or(0);
            }
            if Some(opened.inode) == known {
                return Ok(files);
            }
            files.push(opened);
        }
        missing = if found { 0 } else { missing + 1 };
        number += 1;
    }
    Ok(files)
}

/// What the writer has put before the compressed data.
pub struct Header {
    /// When the last record came.
    pub last: Option<i64>,
    /// The inode of the file that was compressed.
    pub original: Option<Inode>,
}

impl Header {
    /// Reads it.
    pub fn read(file: &Opened) -> Result<Self> {
        let decoder = gunzip(file)?;
        let Some(header) = decoder.header() else {
            return Err(damaged(file, "not compressed by gzip"));
        };
        let last = header.extra().and_then(|extra| {
            let value: serde_json::Value = serde_json::from_slice(extra).ok()?;
            time::parse(value.get("lastTime")?.as_str()?.as_bytes())
        });
        let original = header.comment().and_then(|comment| {
            let text = std::str::from_utf8(comment).ok()?;
            text.strip_prefix(ORIGINAL)?.parse().ok()
        });
        Ok(Self { last, original })
    }
}

/// A reader of a compressed file from its beginning.
pub fn gunzip(file: &Opened) -> Result<GzDecoder<BufReader<File>>> {
    let name = || file.path.display().to_string();
    // Of its own, since two open descriptors of one open file share their position.
    let again = openat(
        CWD,
        format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&file.file)
        ),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("open log", name)?;
    Ok(GzDecoder::new(BufReader::new(File::from(again))))
}

/// The error for a file that is not what it should be.
pub fn damaged(file: &Opened, why: &str) -> Error {
    Error::new(
        Kind::Corrupt,
        "read log",
        file.path.display().to_string(),
        why,
    )
}
