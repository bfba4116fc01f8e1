use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::super::owner::Range;
use super::super::testdir::TestDir;
use super::*;

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn copy(from: &Path, to: &Path, map: &IdMap) -> Result<Copied> {
    copy_tree(open(from), open(to), map, &Control::default())
}

fn whiteout(path: &Path) {
    mknodat(
        rustix::fs::CWD,
        path,
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

#[test]
fn keeps_everything() {
    let tmp = TestDir::new();
    let (from, to) = (tmp.path().join("from"), tmp.path().join("to"));
    fs::create_dir_all(from.join("d/e")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("d/f"), vec![5; 300_000]).unwrap();
    fs::hard_link(from.join("d/f"), from.join("h")).unwrap();
    symlink("/nowhere", from.join("l")).unwrap();
    fs::write(from.join("suid"), b"x").unwrap();
    fs::set_permissions(from.join("suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    set(&from.join("d"), "user.dir", b"1");
    set(&from.join("suid"), "user.file", b"2");
    set(&from.join("d"), "trusted.overlay.origin", b"3");
    mknodat(
        rustix::fs::CWD,
        from.join("null"),
        FileType::CharacterDevice,
        Mode::RUSR,
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 20 << 20).unwrap();
    fs::set_permissions(from.join("d/e"), fs::Permissions::from_mode(0o1577)).unwrap();

    let range = Range {
        inside: 0,
        outside: 1000,
        len: 1000,
    };
    let map = IdMap {
        uid: vec![range],
        gid: vec![range],
    };
    let copied = copy(&from, &to, &map).unwrap();
    assert_eq!(
        copied,
        Copied {
            count: 8,
            skipped_xattrs: 0
        }
    );
    for path in ["", "d", "d/e", "d/f", "h", "l", "suid", "null", "sparse"] {
        let (a, b) = (
            fs::symlink_metadata(from.join(path)).unwrap(),
            fs::symlink_metadata(to.join(path)).unwrap(),
        );
        assert_eq!(a.mode(), b.mode(), "{path}");
        assert_eq!(
            (a.mtime(), a.mtime_nsec()),
            (b.mtime(), b.mtime_nsec()),
            "{path}"
        );
        assert_eq!((b.uid(), b.gid()), (1000, 1000), "{path}");
        assert_eq!(a.rdev(), b.rdev(), "{path}");
        if a.is_file() {
            assert!(
                fs::read(from.join(path)).unwrap() == fs::read(to.join(path)).unwrap(),
                "{path}"
            );
        }
    }
    assert_eq!(
        fs::metadata(to.join("h")).unwrap().ino(),
        fs::metadata(to.join("d/f")).unwrap().ino()
    );
    assert_eq!(fs::read_link(to.join("l")).unwrap(), Path::new("/nowhere"));
    assert!(
        fs::metadata(to.join("sparse")).unwrap().blocks() < 4096,
        "holes are kept"
    );
    let names = |path: &Path| {
        let mut buf = [0; 256];
        let n = rustix::fs::listxattr(path, &mut buf[..]).unwrap();
        String::from_utf8_lossy(&buf[..n]).into_owned()
    };
    assert_eq!(names(&to.join("d")), "user.dir\0");
    assert_eq!(names(&to.join("suid")), "user.file\0");
    assert_eq!(
        copy(&to, &tmp.path().join("from"), &map).unwrap_err().kind,
        Kind::Invalid
    );
}

#[test]
fn layer_over_layer() {
    let tmp = TestDir::new();
    let (low, high, to) = (
        tmp.path().join("low"),
        tmp.path().join("high"),
        tmp.path().join("to"),
    );
    for dir in [
        "low/gone/x",
        "low/opaque/old",
        "low/joined",
        "low/becomes-file/x",
        "high/opaque",
        "high/joined",
    ] {
        fs::create_dir_all(tmp.path().join(dir)).unwrap();
    }
    fs::create_dir(&to).unwrap();
    for (path, text) in [
        ("low/file", "low"),
        ("low/joined/low", "1"),
        ("low/becomes-dir", "x"),
        ("low/shared", "low"),
        ("high/file", "high"),
        ("high/joined/high", "2"),
        ("high/opaque/new", "3"),
        ("high/becomes-file", "4"),
    ] {
        fs::write(tmp.path().join(path), text).unwrap();
    }
    fs::hard_link(low.join("shared"), low.join("shared2")).unwrap();
    fs::write(high.join("shared"), b"high").unwrap();
    fs::create_dir(high.join("becomes-dir")).unwrap();
    fs::write(high.join("becomes-dir/in"), b"5").unwrap();
    symlink(tmp.path(), low.join("link")).unwrap();
    fs::create_dir(high.join("link")).unwrap();
    fs::write(high.join("link/in"), b"6").unwrap();
    whiteout(&high.join("gone"));
    whiteout(&high.join("never-was"));
    set(&high.join("opaque"), "trusted.overlay.opaque", b"y");
    copy(&low, &to, &IdMap::default()).unwrap();
    copy(&high, &to, &IdMap::default()).unwrap();
    let read = |path: &str| fs::read_to_string(to.join(path)).unwrap();
    assert_eq!(read("file"), "high");
    assert_eq!(read("joined/low") + &read("joined/high"), "12");
    assert!(
        !to.join("gone").exists()
            && !to.join("never-was").exists()
            && !to.join("opaque/old").exists()
    );
    assert_eq!(
        read("opaque/new") + &read("becomes-file") + &read("becomes-dir/in"),
        "345"
    );
    assert_eq!(read("shared") + &read("shared2"), "highlow");
    assert!(fs::symlink_metadata(to.join("link")).unwrap().is_dir());
    assert!(
        !tmp.path().join("in").exists(),
        "nothing was written through the link"
    );
    assert!(
        !fs::symlink_metadata(to.join("link"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
}

#[test]
fn redirects_are_refused() {
    let tmp = TestDir::new();
    let (from, to) = (tmp.path().join("from"), tmp.path().join("to"));
    fs::create_dir_all(from.join("d")).unwrap();
    fs::create_dir(&to).unwrap();
    set(&from.join("d"), "trusted.overlay.redirect", b"/etc");
    assert_eq!(
        copy(&from, &to, &IdMap::default()).unwrap_err().kind,
        Kind::Unsupported
    );
}
