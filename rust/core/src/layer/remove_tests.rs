use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::layer::testdir::TestDir;

fn remove(path: &Path, identity: Option<Identity>) -> Result<Removed> {
    remove_tree(path, identity, &Control::default())
}

fn identity(path: &Path) -> Identity {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.dev(), meta.ino())
}

#[test]
fn removes_a_tree_and_counts() {
    let tmp = TestDir::new();
    let top = tmp.path().join("top");
    fs::create_dir_all(top.join("a/b/c")).unwrap();
    for i in 0..2000 {
        fs::write(top.join(format!("a/f{i}")), b"x").unwrap();
    }
    let removed = remove(&top, Some(identity(&top))).unwrap();
    assert_eq!(
        removed,
        Removed {
            existed: true,
            count: 2004
        }
    );
    assert!(!top.exists());
    assert_eq!(remove(&top, None).unwrap(), Removed::default());
}

#[test]
fn deeper_than_a_path_can_be() {
    let tmp = TestDir::new();
    let top = tmp.path().join("top");
    fs::create_dir(&top).unwrap();
    let mut fd = OwnedFd::from(fs::File::open(&top).unwrap());
    for _ in 0..3000 {
        rustix::fs::mkdirat(&fd, "deep", Mode::RWXU).unwrap();
        for name in ["file", "zz"] {
            rustix::fs::openat(&fd, name, OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        }
        fd = dir::open_list(fd.as_fd(), "deep").unwrap();
    }
    drop(fd);
    assert_eq!(remove(&top, None).unwrap().count, 3 * 3000 + 1);
    assert!(!top.exists());
}

#[test]
fn links_are_deleted_not_followed() {
    let tmp = TestDir::new();
    let marker = tmp.path().join("marker");
    fs::create_dir(&marker).unwrap();
    fs::write(marker.join("keep"), b"x").unwrap();
    let top = tmp.path().join("top");
    fs::create_dir(&top).unwrap();
    symlink(&marker, top.join("link")).unwrap();
    fs::hard_link(marker.join("keep"), top.join("hard")).unwrap();
    remove(&top, None).unwrap();
    assert_eq!(fs::read(marker.join("keep")).unwrap(), b"x");

    symlink(&marker, &top).unwrap();
    assert_eq!(remove(&top, None).unwrap_err().kind, Kind::Invalid);
    let with_slash = PathBuf::from(format!("{}/", top.display()));
    assert_eq!(remove(&with_slash, None).unwrap_err().kind, Kind::Invalid);
    assert!(marker.join("keep").exists());
}

#[test]
fn another_directory_is_refused() {
    let tmp = TestDir::new();
    let (one, two) = (tmp.path().join("one"), tmp.path().join("two"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    let recorded = identity(&one);
    fs::rename(&two, tmp.path().join("three")).unwrap();
    fs::rename(&one, &two).unwrap();
    fs::rename(tmp.path().join("three"), &one).unwrap();
    let e = remove(&one, Some(recorded)).unwrap_err();
    assert_eq!(e.kind, Kind::Denied);
    assert!(one.exists() && two.exists());
    assert!(remove(&two, Some(recorded)).unwrap().existed);
}

#[test]
fn a_file_is_refused() {
    let tmp = TestDir::new();
    let file = tmp.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert_eq!(remove(&file, None).unwrap_err().kind, Kind::Invalid);
    assert_eq!(
        remove(Path::new("/"), None).unwrap_err().kind,
        Kind::Invalid
    );
    assert_eq!(
        remove(Path::new("a/.."), None).unwrap_err().kind,
        Kind::Invalid
    );
    assert!(file.exists());
}
