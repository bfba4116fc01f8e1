use std::fs;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use super::super::metadata::{open_node, read_node_xattrs};
use super::super::testdir::TestDir;
use super::super::{Compression, Options, reassemble, tar_tree, unpack};
use super::*;

const CLAMP: i64 = 1_600_000_000;

fn open(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

fn memfd() -> File {
    File::from(rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap())
}

/// A directory with everything that a writable layer can hold.
fn tree(tmp: &TestDir) -> PathBuf {
    let top = tmp.path().join("upper");
    fs::create_dir_all(top.join("etc/deep")).unwrap();
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(top.join("etc/empty"), b"").unwrap();
    fs::write(top.join("etc/deep/big"), vec![b'x'; 700_000]).unwrap();
    fs::hard_link(top.join("etc/deep/big"), top.join("another name")).unwrap();
    fs::set_permissions(top.join("another name"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(top.join("etc/empty"), Some(1234), Some(70_000)).unwrap();
    symlink("/nowhere", top.join("link")).unwrap();
    File::create(top.join("sparse"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let name = "n".repeat(150);
    fs::write(top.join(&name), b"long \xc3\xbc").unwrap();
    rustix::fs::mknodat(
        CWD,
        top.join("gone"),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
    let pipe = top.join("pipe");
    rustix::fs::mknodat(CWD, pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(top.join(path), name, value, XattrFlags::empty()).unwrap();
    };
    set("etc/deep", "trusted.overlay.opaque", b"y");
    set("", "trusted.overlay.uuid", b"of a mount");
    set("etc", "trusted.overlay.origin", b"somewhere");
    set("etc/empty", "trusted.overlay.origin", b"somewhere");
    set("link", "trusted.overlay.origin", b"somewhere");
    set("sparse", "user.kept", b"value");
    let old = Timespec {
        tv_sec: CLAMP - 5,
        tv_nsec: 250_000_000,
    };
    set_times(open(&top.join("sparse")).as_fd(), old).unwrap();
    top
}

type Line = (
    PathBuf,
    u32,
    u32,
    u32,
    i64,
    i64,
    u64,
    Vec<(Vec<u8>, Vec<u8>)>,
    Vec<u8>,
);

/// Everything of a tree but the order of its inodes.
fn listed(top: &Path) -> Vec<Line> {
    let mut out = Vec::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let kind = stat.file_type();
        if kind.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let content = if kind.is_file() {
            fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else {
            Vec::new()
        };
        let parent = open(path.parent().unwrap());
        let name = path.file_name().unwrap().as_encoded_bytes();
        let node = open_node(parent.as_fd(), name).unwrap();
        // An unpacker's own top has the time at which it was made.
        let is_top = path == top;
        let time = |t| {
            if is_top || kind.is_char_device() {
                0
            } else {
                t
            }
        };
        out.push((
            path.strip_prefix(top).unwrap().to_owned(),
            if kind.is_char_device() {
                0
            } else {
                stat.mode()
            },
            stat.uid(),
            stat.gid(),
            time(stat.mtime()),
            time(stat.mtime_nsec()),
            if kind.is_file() { stat.nlink() } else { 1 },
            read_node_xattrs(node.as_fd()).unwrap(),
            content,
        ));
    }
    out.sort();
    out
}

fn kept(top: &Path, left_out: &[&str], options: &CreateOptions) -> Result<(Unpacked, File)> {
    let split = memfd();
    let options = CreateOptions {
        left_out: left_out
            .iter()
            .map(|path| path.as_bytes().to_vec())
            .collect(),
        ..options.clone()
    };
    let copy = split.try_clone().unwrap();
    let done = keep_tree(open(top), copy, &options, &Arc::default())?;
    Ok((done, split))
}

#[test]
fn it_is_what_an_unpacker_makes_of_its_tar() {
    for top in [false, true] {
        let tmp = TestDir::new();
        let upper = tree(&tmp);
        let options = CreateOptions {
            clamp: Some(CLAMP),
            top,
            ..CreateOptions::default()
        };
        let control = Arc::default();
        let mut tar = memfd();
        let out = tar.try_clone().unwrap().into();
        let sink = Sink::new(out, Compression::None, None, &control).unwrap();
        let written = tar_tree(open(&upper), sink, &options, &control).unwrap().0;
        let other = tmp.path().join("unpacked");
        fs::create_dir(&other).unwrap();
        tar.rewind().unwrap();
        let unpacked = unpack(
            tar.as_fd(),
            open(&other),
            None,
            &Options::default(),
            &control,
        );
        let (done, split) = kept(&upper, &[], &options).unwrap();
        assert_eq!(listed(&upper), listed(&other));
        assert_eq!(done.digests.diff_id, written.diff_id);
        assert_eq!(done.digests.size, written.size);
        let unpacked = unpacked.unwrap();
        assert_eq!(
            (done.entries, done.files_size),
            (unpacked.entries, unpacked.files_size)
        );
        let mut again = memfd();
        let out = again.try_clone().unwrap().into();
        let sink = Sink::new(out, Compression::None, None, &control).unwrap();
        reassemble(open(&upper), &split, sink, Some(&written.diff_id)).unwrap();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        tar.rewind().unwrap();
        tar.read_to_end(&mut one).unwrap();
        again.rewind().unwrap();
        again.read_to_end(&mut other).unwrap();
        assert!(one == other);
    }
}

#[test]
fn what_is_left_out_and_sockets_are_gone_and_leave_no_trace() {
    let tmp = TestDir::new();
    let top = tmp.path().join("upper");
    fs::create_dir_all(top.join("made/deep")).unwrap();
    fs::create_dir(top.join("etc")).unwrap();
    fs::write(top.join("etc/hosts"), b"").unwrap();
    let _listening = UnixListener::bind(top.join("etc/socket")).unwrap();
    let old = Timespec {
        tv_sec: 77,
        tv_nsec: 0,
    };
    set_times(open(&top.join("etc")).as_fd(), old).unwrap();
    let left_out = ["made", "made/deep", "etc/hosts", "not/there"];
    let (done, _) = kept(&top, &left_out, &CreateOptions::default()).unwrap();
    let names: Vec<_> = listed(&top).into_iter().map(|line| line.0).collect();
    assert_eq!(names, [Path::new(""), Path::new("etc")]);
    assert_eq!(fs::metadata(top.join("etc")).unwrap().mtime(), 77);
    assert_eq!(done.entries, 1);
}

#[test]
fn nothing_outside_is_left_out() {
    let tmp = TestDir::new();
    let (top, outside) = (tmp.path().join("upper"), tmp.path().join("outside"));
    fs::create_dir(&top).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("hosts"), b"").unwrap();
    symlink(&outside, top.join("etc")).unwrap();
    fs::write(top.join("full"), b"data").unwrap();
    let (done, _) = kept(&top, &["etc/hosts"], &CreateOptions::default()).unwrap();
    assert_eq!(done.entries, 2);
    assert!(outside.join("hosts").exists());
    assert_eq!(
        kept(&top, &["full"], &CreateOptions::default())
            .unwrap_err()
            .kind,
        Kind::Busy
    );
    assert_eq!(
        kept(&top, &["../outside/hosts"], &CreateOptions::default())
            .unwrap_err()
            .kind,
        Kind::Denied
    );
}

#[test]
fn a_path_that_no_unpacker_takes_is_refused() {
    let tmp = TestDir::new();
    let top = tmp.path().join("upper");
    fs::create_dir(&top).unwrap();
    let mut at = open(&top);
    for _ in 0..Limits::default().depth + 1 {
        rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o755)).unwrap();
        at = dir::open_list(at.as_fd(), "d").unwrap();
    }
    assert_eq!(
        kept(&top, &[], &CreateOptions::default()).unwrap_err().kind,
        Kind::Limit
    );
}
