use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use super::source::Source;
use super::transfer::{Rules, Target, copy, read};
use super::tree::Tree;
use super::{Change, Changed, changes};
use crate::layer::testdir::TestDir;
use crate::layer::{Control, IdMap, Owner};
use crate::{Kind, Result};

const COPY: Rules = Rules {
    owner: Owner::Caller,
    keep_kinds: true,
    tame: true,
};

fn tree(path: &Path) -> Tree {
    Tree::new(fs::File::open(path).unwrap().into(), IdMap::default())
}

fn make(dir: &TestDir) -> std::path::PathBuf {
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("d/sub")).unwrap();
    fs::write(root.join("d/f"), "content").unwrap();
    fs::set_permissions(root.join("d/f"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(root.join("d/f"), root.join("d/sub/g")).unwrap();
    symlink("/d/../d/f", root.join("absolute")).unwrap();
    symlink("absolute", root.join("d/link")).unwrap();
    symlink("../absolute", root.join("d/up")).unwrap();
    symlink("../../../../no/where", root.join("d/broken")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("sub", root.join("d/dir")).unwrap();
    root
}

fn out(tree: &Tree, path: &str, name: &str, target: &Path, rules: Rules) -> Result<u64> {
    let control = Arc::new(Control::default());
    let source = Source::container(tree, path.as_bytes())?;
    copy(
        &source,
        name.as_bytes(),
        &Target::Host(target),
        rules,
        &control,
    )?;
    Ok(control.size.load(std::sync::atomic::Ordering::Relaxed))
}

#[test]
fn stat_follows_as_far_as_it_goes() {
    let dir = TestDir::new();
    let tree = tree(&make(&dir));
    let target =
        |path: &str| String::from_utf8(tree.stat(path.as_bytes()).unwrap().link_target).unwrap();
    assert_eq!(target("/absolute"), "/d/f");
    assert_eq!(target("d/up"), "/d/f");
    assert_eq!(target("/d/link"), "/d/absolute");
    assert_eq!(target("/d/broken"), "/no/where");
    assert_eq!(target("/d/f"), "");
    assert_eq!(target("/d/dir/"), "");
    assert_eq!(tree.stat(b"/../d/./f").unwrap().size, 7);
    let kind = |path: &[u8]| tree.stat(path).unwrap_err();
    assert_eq!(kind(b"/none").kind, Kind::NotFound);
    assert_eq!(kind(b"/d/f/").errno, Some(libc::ENOTDIR));
    assert_eq!(kind(b"/d/f/.").errno, Some(libc::ENOTDIR));
    assert_eq!(kind(b"/loop").errno, Some(libc::ELOOP));
}

#[test]
fn directories_are_found_through_links_only() {
    let dir = TestDir::new();
    let tree = tree(&make(&dir));
    assert!(tree.directory(b"/d/dir").unwrap().on_root);
    assert_eq!(tree.directory(b"/d/f").unwrap_err().kind, Kind::Invalid);
    assert_eq!(tree.directory(b"/d/none").unwrap_err().kind, Kind::NotFound);
}

#[test]
fn copies_out_are_tame_and_named() {
    let dir = TestDir::new();
    let tree = tree(&make(&dir));
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let size = out(&tree, "/d", "new", &target, COPY).unwrap();
    // new/, broken, dir, f with content, link, sub/, sub/g, up, end
    assert_eq!(size, 8 * 512 + 512 + 1024);
    let file = fs::metadata(target.join("new/f")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.nlink()), (0o751, 2));
    assert_eq!(
        fs::read_link(target.join("new/link")).unwrap(),
        Path::new("absolute")
    );
    out(
        &tree,
        "/d/f",
        "kept",
        &target,
        Rules {
            tame: false,
            ..COPY
        },
    )
    .unwrap();
    assert_eq!(
        fs::metadata(target.join("kept")).unwrap().mode() & 0o7777,
        0o4751
    );
    out(&tree, "/d/.", ".", &target.join("new/sub"), COPY).unwrap();
    assert!(target.join("new/sub/f").exists());
}

#[test]
fn kinds_are_kept_and_links_on_the_way_stay_inside() {
    let dir = TestDir::new();
    let tree = tree(&make(&dir));
    let target = dir.path().join("target");
    fs::create_dir_all(target.join("d/f")).unwrap();
    let error = out(&tree, "/d", "d", &target, COPY).unwrap_err();
    assert_eq!(
        (error.kind, error.op),
        (Kind::Conflict, "overwrite directory")
    );
    assert_eq!(error.subject, "d/f");
    fs::remove_dir_all(target.join("d")).unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, target.join("d")).unwrap();
    let error = out(&tree, "/d", "d", &target, COPY).unwrap_err();
    assert_eq!(
        (error.kind, error.op),
        (Kind::Conflict, "overwrite non-directory")
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn archives_have_the_given_name() {
    let dir = TestDir::new();
    let tree = tree(&make(&dir));
    for (path, name, first, count) in [
        ("/d/f", "f", "f", 1),
        ("/d", "x", "x/", 8),
        ("/d/dir/.", ".", "./", 2),
        ("/", "/", "/", 11),
    ] {
        let file = fs::File::create(dir.path().join("tar")).unwrap();
        let control = Arc::new(Control::default());
        let source = Source::container(&tree, path.as_bytes()).unwrap();
        read(&source, name.as_bytes(), OwnedFd::from(file), &control).unwrap();
        let bytes = fs::read(dir.path().join("tar")).unwrap();
        let feed = crate::layer::feed::Feed::from_bytes(&bytes);
        let mut archive =
            crate::layer::archive::Archive::new(feed, crate::layer::Limits::default());
        let mut names = Vec::new();
        while let Some(entry) = archive.next_entry().unwrap() {
            names.push(String::from_utf8(entry.path).unwrap());
        }
        assert_eq!(
            (names[0].as_str(), names.len()),
            (first, count),
            "{names:?}"
        );
    }
}

#[test]
fn whole_trees_are_compared() {
    let dir = TestDir::new();
    let (base, top, own) = (
        dir.path().join("base"),
        dir.path().join("top"),
        dir.path().join("own"),
    );
    for path in [
        "base/keep/in",
        "base/gone/in",
        "base/typed/in",
        "top/keep",
        "own/keep/in",
        "own/etc",
    ] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    fs::write(base.join("keep/same"), "1").unwrap();
    fs::write(base.join("keep/hidden"), "1").unwrap();
    fs::write(top.join("keep/hidden"), "22").unwrap();
    fs::write(base.join("keep/lost"), "1").unwrap();
    let copied = |from: &Path, to: &Path| {
        fs::copy(from, to).unwrap();
        let time = fs::metadata(from).unwrap().modified().unwrap();
        fs::File::options()
            .write(true)
            .open(to)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    copied(&base.join("keep/same"), &own.join("keep/same"));
    copied(&top.join("keep/hidden"), &own.join("keep/hidden"));
    fs::write(own.join("typed"), "").unwrap();
    fs::write(own.join("etc/hosts"), "").unwrap();
    fs::write(own.join("etc/mine"), "").unwrap();
    let found = changes(
        &Changed::Whole(own),
        &[top, base],
        &IdMap::default(),
        &Control::default(),
    );
    let found: Vec<_> = found
        .unwrap()
        .into_iter()
        .map(|(path, change)| (String::from_utf8(path).unwrap(), change))
        .collect();
    let wanted = [
        ("/etc", Change::Modified),
        ("/etc/mine", Change::Added),
        ("/gone", Change::Deleted),
        ("/keep", Change::Modified),
        ("/keep/lost", Change::Deleted),
        ("/typed", Change::Modified),
    ];
    assert_eq!(
        found,
        wanted.map(|(path, change)| (path.to_owned(), change))
    );
}
