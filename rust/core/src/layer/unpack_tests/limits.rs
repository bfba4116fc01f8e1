//! What is too much.
use super::*;

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
