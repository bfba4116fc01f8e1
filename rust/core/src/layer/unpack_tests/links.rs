//! Links of both kinds.
use super::*;

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
