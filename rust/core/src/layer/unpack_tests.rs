use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::layer::testdir::TestDir;
use crate::layer::testtar::{Head, Tar};

/// A target beside a directory that nothing may touch.
struct Case {
    tmp: TestDir,
}

impl Case {
    fn new() -> Self {
        let tmp = TestDir::new();
        fs::create_dir(tmp.path().join("t")).unwrap();
        fs::create_dir(tmp.path().join("marker")).unwrap();
        fs::write(tmp.path().join("marker/keep"), b"untouched").unwrap();
        for (path, mode) in [("marker", 0o700), ("marker/keep", 0o600)] {
            fs::set_permissions(tmp.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { tmp }
    }

    fn marker(&self) -> String {
        self.tmp.path().join("marker").display().to_string()
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.tmp.path().join("t").join(path)
    }

    fn unpack_with(&self, tar: &[u8], options: &Options) -> Result<u64> {
        let before = self.state();
        let fd = OwnedFd::from(fs::File::open(self.at("")).unwrap());
        let result = unpack_bytes(tar, fd, options);
        assert_eq!(self.state(), before, "the marker was touched");
        result
    }

    fn unpack(&self, tar: &[u8]) -> Result<u64> {
        self.unpack_with(tar, &Options::default())
    }

    fn state(&self) -> Vec<(u32, i64, i64, u64, u64, Vec<u8>)> {
        let marker = self.tmp.path().join("marker");
        let mut names: Vec<_> = fs::read_dir(&marker)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.push(marker);
        names.sort();
        names
            .iter()
            .map(|path| {
                let meta = fs::symlink_metadata(path).unwrap();
                let data = fs::read(path).unwrap_or_default();
                (
                    meta.mode(),
                    meta.mtime(),
                    meta.mtime_nsec(),
                    meta.nlink(),
                    meta.ino(),
                    data,
                )
            })
            .collect()
    }
}

fn refused(tar: &[u8]) -> Kind {
    Case::new().unpack(tar).unwrap_err().kind
}

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

/// CVE-2021-32760, -41089, 2026-33056: a directory entry over a link changed the link's target.
#[test]
fn the_last_component_is_replaced_not_followed() {
    let case = Case::new();
    let tar = Tar::new()
        .symlink("a", &case.marker())
        .dir("a", 0o777)
        .file("a/keep", b"inside")
        .symlink("f", &format!("{}/keep", case.marker()))
        .file("f", b"inside")
        .symlink("l", &case.marker())
        .symlink("l", "elsewhere")
        .symlink("h", &format!("{}/keep", case.marker()))
        .hardlink("h", "f")
        .end();
    case.unpack(&tar).unwrap();
    assert!(fs::symlink_metadata(case.at("a")).unwrap().is_dir());
    assert_eq!(fs::metadata(case.at("a")).unwrap().mode() & 0o7777, 0o777);
    assert_eq!(fs::read(case.at("a/keep")).unwrap(), b"inside");
    assert!(fs::symlink_metadata(case.at("f")).unwrap().is_file());
    assert_eq!(fs::read_link(case.at("l")).unwrap(), Path::new("elsewhere"));
    assert_eq!(
        fs::metadata(case.at("h")).unwrap().ino(),
        fs::metadata(case.at("f")).unwrap().ino()
    );
}

#[test]
fn links_on_the_way_stay_inside() {
    // An absolute target, one full of "..", and a chain of both.
    for links in [
        vec![("l", "/d")],
        vec![("l", "../../../../d")],
        vec![("m", "/../../d"), ("l", "m")],
    ] {
        let case = Case::new();
        let mut tar = Tar::new().dir("d", 0o755);
        for (name, target) in &links {
            tar = tar.symlink(name, target);
        }
        case.unpack(&tar.file("l/x/y", b"1").dir("l/z", 0o700).end())
            .unwrap();
        assert_eq!(fs::read(case.at("d/x/y")).unwrap(), b"1");
        assert_eq!(fs::metadata(case.at("d/z")).unwrap().mode() & 0o777, 0o700);
    }
    // To the host, there is nothing: nowhere to go.
    let case = Case::new();
    let e = case
        .unpack(
            &Tar::new()
                .symlink("l", &case.marker())
                .file("l/keep", b"x")
                .end(),
        )
        .unwrap_err();
    assert_eq!(e.kind, Kind::Corrupt, "{e}");
    let case = Case::new();
    let tar = Tar::new()
        .symlink("l", &case.marker())
        .hardlink("h", "l/keep")
        .end();
    assert!(case.unpack(&tar).is_err());
    // In a circle.
    let tar = Tar::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"")
        .end();
    assert_eq!(refused(&tar), Kind::Corrupt);
    // procfs's links, which resolve without a path.
    let tar = Tar::new()
        .symlink("p", "/proc/self/root")
        .file("p/tmp/x", b"")
        .end();
    assert_eq!(refused(&tar), Kind::Corrupt);
}

/// CVE-2025-4517: a chain of links longer than `PATH_MAX` got past a check that worked on names.
#[test]
fn long_chains_of_links() {
    let case = Case::new();
    let long = "d".repeat(247);
    let mut tar = Tar::new();
    let mut path = String::new();
    for step in "abcdefghijklmnop".chars() {
        let dir = format!("{path}{long}");
        tar = tar.pax(b'x', &[("path", dir.as_bytes())]).dir("x", 0o755);
        let link = format!("{path}{step}");
        tar = tar
            .pax(
                b'x',
                &[("path", link.as_bytes()), ("linkpath", long.as_bytes())],
            )
            .symlink("x", "y");
        path = format!("{path}{step}/");
    }
    let up = "../".repeat(17);
    let target = format!("{up}{}", &case.marker()[1..]);
    tar = tar
        .pax(
            b'x',
            &[
                ("path", format!("{path}escape").as_bytes()),
                ("linkpath", up.as_bytes()),
            ],
        )
        .symlink("x", "y");
    tar = tar
        .pax(b'x', &[("path", b"out"), ("linkpath", target.as_bytes())])
        .symlink("x", "y");
    tar = tar.file("out/keep", b"overwritten");
    assert!(case.unpack(&tar.end()).is_err());
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
fn hard_links_only_to_files_of_the_layer() {
    let case = Case::new();
    for (target, kind) in [
        ("/etc/passwd", Kind::Corrupt),
        ("missing", Kind::Corrupt),
        ("d", Kind::Corrupt),
        (".", Kind::Corrupt),
        ("gone", Kind::Corrupt),
        ("f/x", Kind::Corrupt),
    ] {
        let case = Case::new();
        let tar = Tar::new()
            .dir("d", 0o755)
            .file("f", b"")
            .file(".wh.gone", b"")
            .hardlink("h", target)
            .end();
        let e = case.unpack(&tar).unwrap_err();
        assert_eq!(e.kind, kind, "{target}: {e}");
    }
    let tar = Tar::new()
        .file("f", b"1")
        .hardlink("d/h", "/f")
        .hardlink("f", "f")
        .symlink("s", &format!("{}/keep", case.marker()))
        .hardlink("s2", "s")
        .end();
    case.unpack(&tar).unwrap();
    assert_eq!(
        fs::metadata(case.at("f")).unwrap().ino(),
        fs::metadata(case.at("d/h")).unwrap().ino()
    );
    // A link to a symbolic link is the link, not what it points at.
    assert!(fs::symlink_metadata(case.at("s2")).unwrap().is_symlink());
}

#[test]
fn a_link_to_what_it_replaces_is_an_error() {
    let tar = Tar::new().file("d/f", b"1").hardlink("d", "d/f").end();
    assert_eq!(refused(&tar), Kind::Corrupt);
}

#[test]
fn whiteouts_for_overlayfs() {
    let case = Case::new();
    let tar = Tar::new()
        .dir("d", 0o755)
        .file("d/.wh.gone", b"")
        .file(".wh..wh.plnk", b"aufs")
        .dir(".wh..wh.aufs", 0o755)
        .file("o/.wh..wh..opq", b"")
        .file("o/new", b"1")
        .file("kept", b"1")
        .file(".wh.kept", b"")
        .file(".wh.later", b"")
        .file("later", b"2")
        .file(".wh.back", b"")
        .file("back/x", b"3")
        .file("again/x", b"4")
        .file(".wh.again", b"")
        .end();
    case.unpack(&tar).unwrap();
    let is_whiteout = |path: &str| {
        let meta = fs::symlink_metadata(case.at(path)).unwrap();
        meta.file_type().is_char_device() && meta.rdev() == 0
    };
    assert!(is_whiteout("d/gone"));
    assert!(opaque(&case.at("o")) && !opaque(&case.at("d")));
    assert_eq!(fs::read(case.at("kept")).unwrap(), b"1");
    assert_eq!(fs::read(case.at("later")).unwrap(), b"2");
    assert_eq!(fs::read(case.at("back/x")).unwrap(), b"3");
    assert!(
        opaque(&case.at("back")),
        "what lower layers have in a directory that comes back stays gone"
    );
    assert!(opaque(&case.at("again")));
    assert!(!case.at(".wh..wh.plnk").exists() && !case.at(".wh..wh.aufs").exists());
}

fn opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value[..])
        .is_ok_and(|n| value[..n] == *b"y")
}

#[test]
fn whiteouts_that_reach_out_are_refused() {
    for path in [".wh.", ".wh..", "d/.wh..", ".wh...", "d/.wh..."] {
        assert_eq!(
            refused(&Tar::new().dir("d", 0o755).file(path, b"").end()),
            Kind::Denied,
            "{path}"
        );
        let case = Case::new();
        let options = Options {
            whiteouts: Whiteouts::Delete,
            ..Options::default()
        };
        let tar = Tar::new().dir("d", 0o755).file(path, b"").end();
        assert_eq!(
            case.unpack_with(&tar, &options).unwrap_err().kind,
            Kind::Denied,
            "{path}"
        );
    }
    assert_eq!(
        refused(&Tar::new().file(".wh.d/x", b"").end()),
        Kind::Corrupt
    );
    // A whiteout through a link deletes inside.
    let case = Case::new();
    let options = Options {
        whiteouts: Whiteouts::Delete,
        ..Options::default()
    };
    let tar = Tar::new()
        .symlink("l", &case.marker())
        .file("l/.wh.keep", b"")
        .end();
    assert!(case.unpack_with(&tar, &options).is_err());
}

#[test]
fn whiteouts_by_deletion() {
    let case = Case::new();
    for dir in ["d/sub", "o/old", "o/new", "gone/x"] {
        fs::create_dir_all(case.at(dir)).unwrap();
        fs::write(case.at(dir).join("lower"), b"").unwrap();
    }
    symlink(case.marker(), case.at("link")).unwrap();
    let options = Options {
        whiteouts: Whiteouts::Delete,
        ..Options::default()
    };
    let tar = Tar::new()
        .file("o/new/upper", b"1")
        .file("o/.wh..wh..opq", b"")
        .file(".wh.gone", b"")
        .file(".wh.link", b"")
        .file("d/.wh.absent", b"")
        .file("kept", b"")
        .file(".wh.kept", b"")
        .end();
    case.unpack_with(&tar, &options).unwrap();
    assert!(case.at("d/sub/lower").exists());
    assert!(!case.at("o/old").exists() && !case.at("o/new/lower").exists());
    assert!(case.at("o/new/upper").exists() && case.at("kept").exists());
    assert!(!case.at("gone").exists() && fs::symlink_metadata(case.at("link")).is_err());
}

#[test]
fn attributes_that_order_overlayfs_are_dropped() {
    let case = Case::new();
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("SCHILY.xattr.user.kept", b"a\0b"),
    ];
    let tar = Tar::new().pax(b'x', records).dir("d", 0o755).end();
    case.unpack(&tar).unwrap();
    assert!(!opaque(&case.at("d")));
    let mut names = [0; 256];
    let n = rustix::fs::listxattr(case.at("d"), &mut names[..]).unwrap();
    assert_eq!(&names[..n], b"user.kept\0");
}

#[test]
fn kinds_modes_times() {
    let case = Case::new();
    let head = |kind, path, mode, device| Head {
        kind,
        path,
        mode,
        device,
        ..Head::default()
    };
    let tar = Tar::new()
        .dir("ro", 0o555)
        .file("ro/f", b"1")
        .raw(&head(b'0', b"suid", 0o6755, (0, 0)), |_| {})
        .dir("sticky", 0o1777)
        .raw(&head(b'3', b"null", 0o666, (1, 3)), |_| {})
        .raw(&head(b'4', b"disk", 0o660, (259, 70_000)), |_| {})
        .raw(&head(b'6', b"pipe", 0o622, (0, 0)), |_| {})
        .pax(b'x', &[("mtime", b"12.345678901")])
        .symlink("l", "x")
        .pax(
            b'x',
            &[("mtime", b"-1.5"), ("uid", b"3000000000"), ("gid", b"7")],
        )
        .file("old", b"")
        .end();
    case.unpack(&tar).unwrap();
    let meta = |path: &str| fs::symlink_metadata(case.at(path)).unwrap();
    assert_eq!(meta("ro").mode() & 0o7777, 0o555);
    assert_eq!(meta("ro").mtime(), 1_000_000_000);
    assert_eq!(meta("suid").mode() & 0o7777, 0o6755);
    assert_eq!(meta("sticky").mode() & 0o7777, 0o1777);
    assert!(meta("null").file_type().is_char_device());
    assert_eq!(meta("null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(meta("null").mode() & 0o777, 0o666);
    assert!(meta("disk").file_type().is_block_device());
    assert_eq!(meta("disk").rdev(), rustix::fs::makedev(259, 70_000));
    assert!(meta("pipe").file_type().is_fifo());
    assert_eq!(
        (meta("l").mtime(), meta("l").mtime_nsec()),
        (12, 345_678_901)
    );
    assert_eq!(
        (meta("old").mtime(), meta("old").mtime_nsec()),
        (-2, 500_000_000)
    );
    assert_eq!((meta("old").uid(), meta("old").gid()), (3_000_000_000, 7));
    assert_eq!(meta("").mode() & 0o7777, 0o755);
}

#[test]
fn the_top_is_a_directory_with_metadata() {
    let case = Case::new();
    case.unpack(&Tar::new().dir("./", 0o750).file("x", b"").end())
        .unwrap();
    assert_eq!(fs::metadata(case.at("")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::metadata(case.at("")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(
        refused(&Tar::new().symlink("./", "/etc").end()),
        Kind::Corrupt
    );
    assert_eq!(refused(&Tar::new().file("a/..", b"x").end()), Kind::Corrupt);
}

#[test]
fn owners_are_mapped() {
    let case = Case::new();
    let range = crate::layer::owner::Range {
        inside: 0,
        outside: 100_000,
        len: 1000,
    };
    let options = Options {
        map: IdMap {
            uid: vec![range],
            gid: vec![range],
        },
        ..Options::default()
    };
    case.unpack_with(
        &Tar::new().file("a/b", b"").symlink("a/l", "b").end(),
        &options,
    )
    .unwrap();
    for path in ["a", "a/b", "a/l"] {
        assert_eq!(
            fs::symlink_metadata(case.at(path)).unwrap().uid(),
            100_000,
            "{path}"
        );
        assert_eq!(
            fs::symlink_metadata(case.at(path)).unwrap().gid(),
            100_000,
            "{path}"
        );
    }
    let tar = Tar::new()
        .pax(b'x', &[("uid", b"1000")])
        .file("x", b"")
        .end();
    assert_eq!(
        case.unpack_with(&tar, &options).unwrap_err().kind,
        Kind::Invalid
    );
    for id in [&b"4294967295"[..], b"4294967296", b"-1", b"0x1"] {
        let tar = Tar::new().pax(b'x', &[("uid", id)]).file("x", b"").end();
        assert!(case.unpack(&tar).is_err());
    }
}

#[test]
fn limits_hold() {
    let with = |limits: Limits, tar: &[u8]| {
        let options = Options {
            limits,
            ..Options::default()
        };
        Case::new().unpack_with(tar, &options).unwrap_err().kind
    };
    let tar = Tar::new().file("a", b"1").file("b", b"2").end();
    assert_eq!(
        with(
            Limits {
                entries: 1,
                ..Limits::default()
            },
            &tar
        ),
        Kind::Limit
    );
    assert_eq!(
        with(
            Limits {
                size: 1,
                ..Limits::default()
            },
            &tar
        ),
        Kind::Limit
    );
    let deep = Tar::new().file("1/2/3/4", b"").end();
    assert_eq!(
        with(
            Limits {
                depth: 3,
                ..Limits::default()
            },
            &deep
        ),
        Kind::Limit
    );
    let many: Vec<_> = (0..300)
        .map(|i| (format!("SCHILY.xattr.user.{i}"), b"x".to_vec()))
        .collect();
    let many: Vec<_> = many
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()))
        .collect();
    assert_eq!(
        with(
            Limits::default(),
            &Tar::new().pax(b'x', &many).file("x", b"").end()
        ),
        Kind::Limit
    );
    let large = Tar::new()
        .pax(b'x', &[("comment", &vec![b'x'; 2 << 20])])
        .file("x", b"")
        .end();
    assert_eq!(with(Limits::default(), &large), Kind::Limit);
    // A size without the data: nothing is allocated for it.
    let head = Head {
        kind: b'x',
        path: b"p",
        size: 8_000_000_000,
        ..Head::default()
    };
    assert_eq!(
        with(Limits::default(), &Tar::new().raw(&head, |_| {}).0),
        Kind::Limit
    );
    let name = vec![b'n'; 5000];
    assert_eq!(
        with(
            Limits::default(),
            &Tar::new().extension(b'L', &name).file("x", b"").end()
        ),
        Kind::Limit
    );
    let link = vec![b'n'; 5000];
    let tar = Tar::new()
        .pax(b'x', &[("linkpath", &link)])
        .symlink("x", "y")
        .end();
    assert_eq!(with(Limits::default(), &tar), Kind::Limit);
    // Ten GiB in one hole.
    let records: &[(&str, &[u8])] = &[("GNU.sparse.size", b"10737418240"), ("GNU.sparse.map", b"")];
    let tar = Tar::new().pax(b'x', records).file("x", b"").end();
    assert_eq!(with(Limits::default(), &tar), Kind::Limit);
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
