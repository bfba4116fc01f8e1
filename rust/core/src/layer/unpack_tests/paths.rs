//! Where entries come to lie.
use super::*;

#[test]
fn paths_that_leave_the_layer_are_refused() {
    for path in ["../x", "a/../../x", "/../x", "..", "./../t2"] {
        assert_eq!(
            refused(&Tar::new().file(path, b"x").end()),
            Kind::Denied,
            "{path}"
        );
        assert_eq!(
            refused(&Tar::new().dir(path, 0o777).end()),
            Kind::Denied,
            "{path}"
        );
        assert_eq!(
            refused(&Tar::new().file("f", b"").hardlink("h", path).end()),
            Kind::Denied,
            "{path}"
        );
    }
    // The long forms of a name are checked like the short one.
    let tar = Tar::new()
        .extension(b'L', b"../../x\0")
        .file("ok", b"x")
        .end();
    assert_eq!(refused(&tar), Kind::Denied);
    let tar = Tar::new()
        .pax(b'x', &[("path", b"../../x")])
        .file("ok", b"x")
        .end();
    assert_eq!(refused(&tar), Kind::Denied);
}

#[test]
fn absolute_paths_are_inside() {
    let case = Case::new();
    case.unpack(&Tar::new().file("/etc/x", b"1").end()).unwrap();
    assert_eq!(fs::read(case.at("etc/x")).unwrap(), b"1");
}

#[test]
fn parents_must_be_directories() {
    let tar = Tar::new().file("f", b"x").file("f/x", b"y").end();
    assert_eq!(refused(&tar), Kind::Corrupt);
    let head = Head {
        kind: b'6',
        path: b"p",
        ..Head::default()
    };
    let tar = Tar::new().raw(&head, |_| {}).file("p/x", b"y").end();
    assert_eq!(refused(&tar), Kind::Corrupt);
}

#[test]
fn paths_deeper_than_the_cache_and_back() {
    let case = Case::new();
    let mut tar = Tar::new();
    let deep = vec!["d"; 300].join("/");
    for path in [
        format!("{deep}/x"),
        "top".into(),
        format!("{deep}/y"),
        "d/d/z".into(),
        format!("{deep}/w"),
    ] {
        tar = tar
            .pax(b'x', &[("path", path.as_bytes())])
            .file("p", path.as_bytes());
    }
    case.unpack(&tar.end()).unwrap();
    assert_eq!(fs::read(case.at("d/d/z")).unwrap(), b"d/d/z");
    for name in ["x", "y", "w"] {
        assert_eq!(
            fs::read(case.at(&format!("{deep}/{name}"))).unwrap(),
            format!("{deep}/{name}").as_bytes()
        );
    }
}

#[test]
fn replaced_directories_are_forgotten() {
    let case = Case::new();
    let tar = Tar::new()
        .dir("a", 0o700)
        .dir("a/b", 0o700)
        .file("a/b/c", b"1")
        .file("a", b"file")
        .dir("n", 0o755)
        .symlink("a", "n")
        .file("a/x", b"2")
        .dir("a", 0o711)
        .file("a/y", b"3")
        .end();
    case.unpack(&tar).unwrap();
    assert_eq!(fs::read(case.at("n/x")).unwrap(), b"2");
    assert_eq!(fs::read(case.at("a/y")).unwrap(), b"3");
    assert_eq!(fs::metadata(case.at("a")).unwrap().mode() & 0o777, 0o711);
    assert_eq!(fs::metadata(case.at("n")).unwrap().mode() & 0o777, 0o755);
}

/// Somebody exchanges directories of the target with links to the marker all the time.
#[test]
fn exchanges_during_unpacking_touch_nothing_outside() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let case = Case::new();
    fs::create_dir(case.at("d")).unwrap();
    let bait = case.tmp.path().join("bait");
    symlink(case.marker(), &bait).unwrap();
    let stop = AtomicBool::new(false);
    let mut tar = Tar::new();
    for i in 0..40 {
        tar = tar
            .dir("d", 0o777)
            .file("d/keep", b"overwritten")
            .file(&format!("d/f{i}"), b"x")
            .dir(&format!("d/s{i}"), 0o777)
            .hardlink(&format!("d/h{i}"), &format!("d/f{i}"))
            .file("d/.wh.keep", b"");
    }
    let tar = tar.end();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &bait,
                    rustix::fs::CWD,
                    case.at("d"),
                    flags,
                );
            }
        });
        let mut outcomes = [0, 0];
        for round in 0..60 {
            let whiteouts = if round % 2 == 0 {
                Whiteouts::Overlay
            } else {
                Whiteouts::Delete
            };
            let options = Options {
                whiteouts,
                ..Options::default()
            };
            // The marker is compared inside.
            outcomes[usize::from(case.unpack_with(&tar, &options).is_ok())] += 1;
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(outcomes[0] + outcomes[1], 60);
    });
}
