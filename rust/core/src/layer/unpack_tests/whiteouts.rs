//! What a layer takes away.
use super::*;

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
