//! A directory becomes a layer's tar: the same tree gives the same bytes.
//!
//! ustar headers, with PAX records for what those cannot hold. Whiteouts in overlayfs form become OCI's.
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, openat};
use tar_core::{EntryType, Header};

use super::archive::OCTAL_SIZE_MAX;
use super::compress::Sink;
use super::control::Control;
use super::decompress::Digests;
use super::dir;
use super::metadata::{self, read_xattrs};
use super::owner::IdMap;
use super::path::show;
use super::root;
use super::walk::{Found, Walk};
use crate::{Context, Error, Kind, Result};

/// How to write.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Owners on disk to owners in the archive, backwards.
    pub map: IdMap,
    /// No time is later than this (seconds since 1970; `SOURCE_DATE_EPOCH`).
    pub clamp: Option<i64>,
    /// An entry for the top itself comes first.
    pub top: bool,
}

/// Largest user or group id of a ustar header.
const OCTAL_ID_MAX: u32 = 0o777_7777;

/// Writes the tree `top` as a tar into `sink`; returns digests and the number of entries.
///
/// Sockets are left out, as in every tar.
///
/// # Errors
/// `Invalid` for a name that means a whiteout or an owner outside the map, `Busy` for a file that changes meanwhile,
/// `Unsupported` for a directory that overlayfs redirected, and those of the file system.
pub fn tar_tree(
    top: OwnedFd,
    mut sink: Sink,
    options: &CreateOptions,
    control: &Control,
) -> Result<(Digests, u64)> {
    let mut writer = Writer {
        sink: &mut sink,
        options,
        links: HashMap::new(),
        entries: 0,
        buf: Vec::new(),
    };
    let dir = dir::open_list(top.as_fd(), ".").context("open", || "directory")?;
    if options.top {
        let stat = rustix::fs::fstat(&dir).context("look at", || "directory")?;
        let xattrs = read_xattrs(dir.as_fd()).context("read attributes of", || "directory")?;
        writer.header(b"./", &stat, EntryType::Directory, b"", 0, &xattrs)?;
    }
    if is_opaque(dir.as_fd()).context("read attributes of", || "directory")? {
        writer.whiteout(b".wh..wh..opq")?;
    }
    let mut walk = Walk::new(dir, control)?;
    while let Some(found) = walk.next()? {
        writer.add(&found)?;
    }
    let entries = writer.entries;
    sink.put(&[0; 1024])?;
    Ok((sink.finish()?, entries))
}

struct Writer<'a> {
    sink: &'a mut Sink,
    options: &'a CreateOptions,
    /// First path of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    entries: u64,
    buf: Vec<u8>,
}

type Xattrs = [(Vec<u8>, Vec<u8>)];

impl Writer<'_> {
    fn add(&mut self, found: &Found) -> Result<()> {
        let Found {
            path, name, stat, ..
        } = found;
        let at = found.parent.as_fd();
        let subject = || show(path);
        let kind = found.kind();
        if kind == FileType::Socket {
            return Ok(());
        }
        if name.starts_with(b".wh.") {
            let why = "a name that starts with .wh. would delete something where the layer is used";
            return Err(Error::new(Kind::Invalid, "write layer", show(path), why));
        }
        if root::is_whiteout(stat) {
            let dir = &path[..path.len() - name.len()];
            return self.whiteout(&[dir, b".wh.", name].concat());
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let id = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&id) {
                let first = first.clone();
                return self.header(path, stat, EntryType::Link, &first, 0, &[]);
            }
            self.links.insert(id, path.clone());
        }
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let fd =
                    openat(at, name.as_slice(), flags, Mode::empty()).context("open", subject)?;
                let now = rustix::fs::fstat(&fd).context("look at", subject)?;
                if (now.st_dev, now.st_ino, now.st_size) != (stat.st_dev, stat.st_ino, stat.st_size)
                {
                    return Err(changed(path));
                }
                let xattrs = read_xattrs(fd.as_fd()).context("read attributes of", subject)?;
                let size = now.st_size.cast_unsigned();
                self.header(path, &now, EntryType::Regular, b"", size, &xattrs)?;
                self.content(path, fd.as_fd(), size)
            }
            FileType::Directory => {
                let fd = dir::open_list(at, name.as_slice()).context("open", subject)?;
                let xattrs = read_xattrs(fd.as_fd()).context("read attributes of", subject)?;
                let slash = [path.as_slice(), b"/"].concat();
                self.header(&slash, stat, EntryType::Directory, b"", 0, &xattrs)?;
                if is_opaque(fd.as_fd()).context("read attributes of", subject)? {
                    self.whiteout(&[&slash, &b".wh..wh..opq"[..]].concat())?;
                }
                Ok(())
            }
            _ => {
                let node = metadata::open_node(at, name).context("open", subject)?;
                let xattrs = metadata::read_node_xattrs(node.as_fd())
                    .context("read attributes of", subject)?;
                let (kind, link) = match kind {
                    FileType::Symlink => {
                        let target = rustix::fs::readlinkat(&node, c"", Vec::new())
                            .context("read link", subject)?;
                        (EntryType::Symlink, target.into_bytes())
                    }
                    FileType::CharacterDevice => (EntryType::Char, Vec::new()),
                    FileType::BlockDevice => (EntryType::Block, Vec::new()),
                    _ => (EntryType::Fifo, Vec::new()),
                };
                self.header(path, stat, kind, &link, 0, &xattrs)
            }
        }
    }

    /// An empty file of root with the given name.
    fn whiteout(&mut self, path: &[u8]) -> Result<()> {
        let mut pax = Pax::default();
        let header = self.start(path, b"", EntryType::Regular, &mut pax)?;
        self.finish(header, &pax)
    }

    /// A header with name, link and kind, everything else zero.
    fn start(&self, path: &[u8], link: &[u8], kind: EntryType, pax: &mut Pax) -> Result<Header> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        if path.len() > 100 {
            pax.add(b"path", path);
        }
        if link.len() > 100 {
            pax.add(b"linkpath", link);
        }
        let raw = header.as_ustar_mut();
        let n = path.len().min(100);
        raw.name[..n].copy_from_slice(&path[..n]);
        let n = link.len().min(100);
        raw.linkname[..n].copy_from_slice(&link[..n]);
        let fail = |e: tar_core::HeaderError| {
            Error::new(Kind::Invalid, "write layer", show(path), e.to_string())
        };
        header.set_mode(0).map_err(fail)?;
        header.set_uid(0).map_err(fail)?;
        header.set_gid(0).map_err(fail)?;
        header.set_size(0).map_err(fail)?;
        header.set_mtime(0).map_err(fail)?;
        Ok(header)
    }

    fn header(
        &mut self,
        path: &[u8],
        stat: &Stat,
        kind: EntryType,
        link: &[u8],
        size: u64,
        xattrs: &Xattrs,
    ) -> Result<()> {
        let mut pax = Pax::default();
        let mut header = self.start(path, link, kind, &mut pax)?;
        let fail = |e: tar_core::HeaderError| {
            Error::new(Kind::Invalid, "write layer", show(path), e.to_string())
        };
        let (uid, gid) = self.options.map.to_archive(stat.st_uid, stat.st_gid)?;
        for (key, id) in [(&b"uid"[..], uid), (b"gid", gid)] {
            if id > OCTAL_ID_MAX {
                pax.add(key, id.to_string().as_bytes());
            }
        }
        header
            .set_uid(if uid > OCTAL_ID_MAX { 0 } else { uid.into() })
            .map_err(fail)?;
        header
            .set_gid(if gid > OCTAL_ID_MAX { 0 } else { gid.into() })
            .map_err(fail)?;
        header.set_mode(stat.st_mode & 0o7777).map_err(fail)?;
        if size > OCTAL_SIZE_MAX {
            pax.add(b"size", size.to_string().as_bytes());
        } else {
            header.set_size(size).map_err(fail)?;
        }
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let (seconds, nanos) = match self.options.clamp {
            Some(latest) if stat.st_mtime >= latest => (latest, 0),
            _ => (stat.st_mtime, nanos),
        };
        let fits = u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds <= OCTAL_SIZE_MAX);
        header.set_mtime(fits.unwrap_or(0)).map_err(fail)?;
        if nanos != 0 || fits.is_none() {
            pax.add(b"mtime", time(seconds, nanos).as_bytes());
        }
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let (major, minor) = (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            );
            header.set_device(major, minor).map_err(fail)?;
        }
        for (name, value) in xattrs {
            if matches!(
                name.as_slice(),
                b"trusted.overlay.redirect" | b"trusted.overlay.metacopy"
            ) {
                let why = "overlayfs keeps only part of it here; mount with redirect_dir=off,metacopy=off";
                return Err(Error::new(
                    Kind::Unsupported,
                    "write layer",
                    show(path),
                    why,
                ));
            }
            if metadata::is_wanted(name) {
                pax.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
            }
        }
        self.finish(header, &pax)
    }

    /// Writes the extended header, if there is one, and the header.
    fn finish(&mut self, mut header: Header, pax: &Pax) -> Result<()> {
        self.entries += 1;
        if !pax.data.is_empty() {
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            let raw = extended.as_ustar_mut();
            raw.name[..15].copy_from_slice(b"PaxHeaders.0/xx");
            let fail = |e: tar_core::HeaderError| {
                Error::new(Kind::Limit, "write layer", "header", e.to_string())
            };
            extended.set_mode(0o644).map_err(fail)?;
            extended.set_uid(0).map_err(fail)?;
            extended.set_gid(0).map_err(fail)?;
            extended.set_mtime(0).map_err(fail)?;
            extended.set_size(pax.data.len() as u64).map_err(fail)?;
            extended.set_checksum();
            self.sink.put(extended.as_bytes())?;
            self.sink.put(&pax.data)?;
            self.pad(pax.data.len() as u64)?;
        }
        header.set_checksum();
        self.sink.put(header.as_bytes())
    }

    fn pad(&mut self, len: u64) -> Result<()> {
        let padding = (len.next_multiple_of(512) - len) as usize;
        self.sink.put(&[0; 512][..padding])
    }

    fn content(&mut self, path: &[u8], fd: BorrowedFd<'_>, size: u64) -> Result<()> {
        self.buf.resize(super::feed::CHUNK, 0);
        let mut left = size;
        while left > 0 {
            let want = self
                .buf
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let part = &mut self.buf[..want];
            let n = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *part))
                .context("read", || show(path))?;
            if n == 0 {
                return Err(changed(path));
            }
            self.sink.put(&self.buf[..n])?;
            left -= n as u64;
        }
        self.pad(size)
    }
}

fn changed(path: &[u8]) -> Error {
    Error::new(
        Kind::Busy,
        "write layer",
        show(path),
        "file changes while it is read",
    )
}

fn is_opaque(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let mut value = [0_u8; 8];
    match rustix::fs::fgetxattr(dir, c"trusted.overlay.opaque", &mut value[..]) {
        Ok(n) => Ok(value[..n] == *b"y"),
        Err(
            rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::RANGE,
        ) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Seconds and nanoseconds as PAX writes them, without needless zeros.
fn time(seconds: i64, nanos: u32) -> String {
    let (sign, seconds, nanos) = match (seconds < 0, nanos) {
        (true, 1..) => ("-", (-(seconds + 1)).cast_unsigned(), 1_000_000_000 - nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (false, nanos) => ("", seconds.cast_unsigned(), nanos),
    };
    if nanos == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{nanos:09}")
        .trim_end_matches('0')
        .to_owned()
}

/// The records of one extended header.
#[derive(Default)]
struct Pax {
    data: Vec<u8>,
}

impl Pax {
    /// A record counts its own length, digits of the length included.
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + rest.to_string().len();
        if len.to_string().len() > rest.to_string().len() {
            len += 1;
        }
        self.data.extend_from_slice(format!("{len} ").as_bytes());
        self.data.extend_from_slice(key);
        self.data.push(b'=');
        self.data.extend_from_slice(value);
        self.data.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::pax;
    use super::*;

    #[test]
    fn record_lengths_count_themselves() {
        for len in [
            0, 1, 84, 85, 86, 87, 88, 89, 90, 91, 92, 980, 981, 982, 983, 984, 985, 986, 9_990,
        ] {
            let mut out = Pax::default();
            let value = vec![b'v'; len];
            out.add(b"path", &value);
            out.add(b"x", b"y");
            let records = pax::records(&out.data).unwrap();
            assert_eq!(records, [(&b"path"[..], value.as_slice()), (b"x", b"y")]);
        }
    }

    #[test]
    fn times_read_back() {
        for at in [
            (0, 0),
            (12, 500_000_000),
            (12, 1),
            (-1, 0),
            (-2, 500_000_000),
            (-1, 999_999_999),
            (-62_135_596_800, 0),
        ] {
            assert_eq!(pax::time(time(at.0, at.1).as_bytes()), Some(at));
        }
    }
}
