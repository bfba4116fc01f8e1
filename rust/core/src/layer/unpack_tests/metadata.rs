//! Kinds, modes, times, owners and attributes.
use super::*;

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
