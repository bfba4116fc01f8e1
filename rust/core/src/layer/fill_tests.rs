use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use super::super::testdir::TestDir;
use super::*;

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn filled(lower: &[PathBuf], path: &str, target: &Path) -> Result<Option<Copied>> {
    fill(
        lower.to_vec(),
        Path::new(path),
        open(target),
        &Control::default(),
    )
}

#[test]
fn a_directory_of_an_image_with_everything() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let tmp = TestDir::new();
    let (low, high) = (tmp.path().join("low"), tmp.path().join("high"));
    fs::create_dir_all(low.join("srv/data/sub")).unwrap();
    fs::create_dir_all(high.join("srv/data/sub")).unwrap();
    symlink("/srv/data", low.join("link")).unwrap();
    fs::write(low.join("srv/data/both"), "low").unwrap();
    fs::write(high.join("srv/data/both"), "high").unwrap();
    // Enough for the threads, some with two names.
    for i in 0..100 {
        fs::write(
            low.join(format!("srv/data/sub/{i}")),
            vec![i as u8; 10_000 * (i % 7)],
        )
        .unwrap();
    }
    fs::hard_link(low.join("srv/data/sub/90"), low.join("srv/data/sub/second")).unwrap();
    fs::set_permissions(
        low.join("srv/data/sub/5"),
        fs::Permissions::from_mode(0o4751),
    )
    .unwrap();
    chown(low.join("srv/data/sub/6"), Some(33), Some(34)).unwrap();
    chown(high.join("srv/data"), Some(1000), Some(1001)).unwrap();
    fs::set_permissions(high.join("srv/data"), fs::Permissions::from_mode(0o1700)).unwrap();
    // A deleted file.
    rustix::fs::mknodat(
        CWD,
        high.join("srv/data/sub/7"),
        rustix::fs::FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
    let lower = [high, low];
    for (i, path) in ["/srv/data", "link/", "/srv/../srv/data"]
        .iter()
        .enumerate()
    {
        let target = tmp.path().join(format!("target{i}"));
        fs::create_dir(&target).unwrap();
        let copied = filled(&lower, path, &target).unwrap().unwrap();
        assert_eq!(copied.count, 102, "{path}");
        assert_eq!(fs::read(target.join("both")).unwrap(), b"high");
        for i in (0..100).filter(|i| *i != 7) {
            let content = fs::read(target.join(format!("sub/{i}"))).unwrap();
            assert_eq!(content, vec![i as u8; 10_000 * (i % 7)]);
        }
        assert!(!target.join("sub/7").exists());
        let at = |name: &str| fs::symlink_metadata(target.join(name)).unwrap();
        assert_eq!(at("sub/90").ino(), at("sub/second").ino());
        assert_eq!(at("sub/5").mode() & 0o7777, 0o4751);
        assert_eq!((at("sub/6").uid(), at("sub/6").gid()), (33, 34));
        assert_eq!(
            (at("").uid(), at("").gid(), at("").mode() & 0o7777),
            (1000, 1001, 0o1700)
        );
    }
    let target = tmp.path().join("target0");
    assert_eq!(
        filled(&lower, "/srv/data", &target).unwrap_err().kind,
        Kind::Conflict
    );
    fs::create_dir(tmp.path().join("empty")).unwrap();
    for none in ["/none", "/srv/data/both", "/srv/data/both/x", "/../etc"] {
        assert_eq!(
            filled(&lower, none, &tmp.path().join("empty")).unwrap(),
            None,
            "{none}"
        );
    }
}

#[test]
fn files_of_layers_are_found_or_not_believed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let tmp = TestDir::new();
    let (low, high) = (tmp.path().join("low"), tmp.path().join("high"));
    for layer in [&low, &high] {
        fs::create_dir_all(layer.join("a/d")).unwrap();
    }
    fs::write(low.join("a/d/f"), "x").unwrap();
    let lower = vec![high.clone(), low.clone()];
    let tops = open_tops(&lower).unwrap();
    let whole = view::view(lower).unwrap();
    let source = Root::new(whole.as_fd())
        .open(Path::new("a"), OFlags::RDONLY)
        .unwrap();
    let layers = layers(whole.as_fd(), source.as_fd(), tops).unwrap();
    assert_eq!(layers.inside, b"a");
    let shown = rustix::fs::statat(&source, "d/f", rustix::fs::AtFlags::empty()).unwrap();
    assert!(layers.find(b"d/f", &shown).is_some());
    // Another file, a link on the way.
    fs::write(high.join("a/d/f"), "y").unwrap();
    assert!(layers.find(b"d/f", &shown).is_none());
    fs::remove_file(high.join("a/d/f")).unwrap();
    fs::remove_dir(high.join("a/d")).unwrap();
    symlink(low.join("a/d"), high.join("a/d")).unwrap();
    assert!(layers.find(b"d/f", &shown).is_none());
}
