use proptest::prelude::*;

use super::*;
use crate::layer::testtar::{Head, Tar, octal};

fn read(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut archive = Archive::new(Feed::from_bytes(tar), Limits::default());
    let mut out = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut data = Vec::new();
        while let Some(slice) = archive.content(u64::MAX)? {
            data.extend_from_slice(slice);
        }
        out.push((entry, data));
    }
    Ok(out)
}

fn fails(tar: &[u8], text: &str) {
    let e = read(tar).unwrap_err();
    assert!(e.to_string().contains(text), "{e}");
}

/// CVE-2025-62518: whoever believes the other size reads other entries.
#[test]
fn sizes_that_disagree_are_an_error() {
    let hidden = Tar::new().file("hidden", b"").0;
    let tar = Tar::new().pax(b'x', &[("size", b"512")]).file("outer", b"");
    fails(
        &[tar.0.clone(), hidden.clone(), vec![0; 1024]].concat(),
        "size is 512",
    );
    let head = Head {
        path: b"outer",
        size: 512,
        ..Head::default()
    };
    let tar = Tar::new().pax(b'x', &[("size", b"0")]).raw(&head, |_| {});
    fails(
        &[tar.0, hidden.clone(), vec![0; 1024]].concat(),
        "size is 0",
    );
    let tar = Tar::new()
        .pax(b'x', &[("size", b"3")])
        .file("ok", b"abc")
        .end();
    assert_eq!(read(&tar).unwrap()[0].1, b"abc");
    // Content behind what has none hides entries the same way.
    for kind in *b"123456" {
        let head = Head {
            kind,
            path: b"x",
            link: b"y",
            size: 512,
            ..Head::default()
        };
        fails(
            &[
                Tar::new().raw(&head, |_| {}).0,
                hidden.clone(),
                vec![0; 1024],
            ]
            .concat(),
            "content",
        );
    }
    // For all entries at once.
    fails(
        &Tar::new()
            .pax(b'g', &[("size", b"512")])
            .file("x", b"")
            .end(),
        "global header",
    );
    fails(
        &Tar::new().pax(b'g', &[("path", b"y")]).file("x", b"").end(),
        "global header",
    );
}

#[test]
fn sizes_beyond_octal_need_the_extended_header() {
    let head = |size| Head {
        path: b"x",
        size,
        ..Head::default()
    };
    // 8 GiB and more: the header has zero, or what fits.
    let mut archive = Tar::new()
        .pax(b'x', &[("size", b"8589934592")])
        .raw(&head(0), |_| {})
        .0;
    archive.extend_from_slice(&[0; 512]);
    fails(&archive, "truncated");
    let tar = Tar::new().raw(&head(0), |block| {
        block[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")
    });
    fails(&tar.end(), "impossible");
    // tar-core shifts this one's high bits away and reads 512.
    let tar = Tar::new().raw(&head(0), |block| {
        block[124..136].copy_from_slice(b"\x80\x01\0\0\0\0\0\0\0\0\x02\0")
    });
    fails(&tar.end(), "not a number");
    let tar = Tar::new().raw(&head(0), |block| block[124..136].fill(0xff));
    fails(&tar.end(), "not a number");
}

#[test]
fn truncated_at_every_byte() {
    let tar = Tar::new()
        .pax(b'x', &[("path", b"long")])
        .file("a", b"hello")
        .extension(b'L', b"longer name\0")
        .file("b", &[7; 600])
        .end();
    assert_eq!(read(&tar).unwrap().len(), 2);
    for len in 0..tar.len() - 1024 {
        let e = read(&tar[..len]);
        // Cut between two entries, the archive lacks its end only; the unpacker asks for that.
        let whole = matches!(&e, Ok(entries) if entries.len() == 1 && len == 2048);
        assert!(e.is_err() || whole, "{len}");
    }
}

#[test]
fn after_the_end() {
    let tar = Tar::new().file("a", b"x").end();
    let ok = [tar.clone(), vec![0; 20_000]].concat();
    assert_eq!(read(&ok).unwrap().len(), 1);
    let second = [tar.clone(), Tar::new().file("hidden", b"").end()].concat();
    fails(&second, "after the end");
    fails(
        &[tar.clone(), vec![0; 5000], vec![1]].concat(),
        "after the end",
    );
    let lone = [
        Tar::new().file("a", b"x").0,
        vec![0; 512],
        Tar::new().file("hidden", b"").end(),
    ]
    .concat();
    fails(&lone, "single block of zeros");
    // One block of zeros and nothing more is an end too.
    assert!(read(&tar[..tar.len() - 512]).is_ok());
    assert!(read(&[0; 1024]).unwrap().is_empty());
}

#[test]
fn what_is_no_tar_is_named() {
    fails(b"", "empty");
    let pad = |head: &[u8]| [head, &vec![1; 2048]].concat();
    for (head, name) in [
        (&b"\x7fELF"[..], "ELF"),
        (b"PK\x03\x04", "zip"),
        (b"\xfd7zXZ\0", "xz"),
        (b"hsqs", "squashfs"),
        (b"<!DOCTYPE html>", "web page"),
        (b"{\"errors\":", "JSON"),
        (b"\x01", "not a tar archive"),
    ] {
        fails(&pad(head), name);
    }
    fails(&b"just some text, "[..].repeat(100), "text");
    fails(b"short", "truncated");
    let mut damaged = Tar::new().file("a", b"x").file("b", b"y").end();
    damaged[1024 + 3] ^= 1;
    fails(&damaged, "damaged header at byte 1024");
}

#[test]
fn names() {
    let path = |tar: Tar| String::from_utf8(read(&tar.end()).unwrap()[0].0.path.clone()).unwrap();
    assert_eq!(path(Tar::new().file("plain", b"")), "plain");
    assert_eq!(
        path(Tar::new().extension(b'L', b"gnu\0junk").file("x", b"")),
        "gnu"
    );
    assert_eq!(
        path(Tar::new().pax(b'x', &[("path", b"pax")]).file("x", b"")),
        "pax"
    );
    // PAX wins over GNU; an empty value takes back.
    assert_eq!(
        path(
            Tar::new()
                .extension(b'L', b"gnu\0")
                .pax(b'x', &[("path", b"pax")])
                .file("x", b"")
        ),
        "pax"
    );
    assert_eq!(
        path(
            Tar::new()
                .pax(b'x', &[("path", b"a"), ("path", b"")])
                .file("x", b"")
        ),
        "x"
    );
    let prefixed = Tar::new().raw(
        &Head {
            path: b"name",
            ..Head::default()
        },
        |block| block[345..351].copy_from_slice(b"prefix"),
    );
    assert_eq!(path(prefixed), "prefix/name");
    // GNU has other things where ustar has the prefix.
    let gnu = Head {
        path: b"name",
        gnu: true,
        ..Head::default()
    };
    assert_eq!(
        path(Tar::new().raw(&gnu, |block| octal(&mut block[345..357], 1))),
        "name"
    );
    let v7 = Tar::new()
        .raw(
            &Head {
                path: b"dir/",
                kind: 0,
                ..Head::default()
            },
            |block| block[257..].fill(0),
        )
        .end();
    assert_eq!(read(&v7).unwrap()[0].0.kind, EntryKind::Directory);
}

#[test]
fn globals_are_defaults() {
    let tar = Tar::new()
        .pax(
            b'g',
            &[
                ("uid", b"5"),
                ("mtime", b"7"),
                ("SCHILY.xattr.user.a", b"1"),
            ],
        )
        .file("a", b"")
        .pax(b'x', &[("uid", b"6")])
        .file("b", b"")
        .pax(b'g', &[("uid", b"")])
        .file("c", b"")
        .end();
    let entries = read(&tar).unwrap();
    let uids: Vec<_> = entries.iter().map(|(entry, _)| entry.uid).collect();
    assert_eq!(uids, [5, 6, 0]);
    assert!(
        entries
            .iter()
            .all(|(entry, _)| entry.mtime == (7, 0) && entry.xattrs.len() == 1)
    );
}

#[test]
fn headers_without_their_entry() {
    fails(
        &Tar::new().pax(b'x', &[("path", b"a")]).end(),
        "without its entry",
    );
    fails(
        &Tar::new().pax(b'x', &[("path", b"a")]).0,
        "without its entry",
    );
    fails(
        &Tar::new().extension(b'L', b"name\0").end(),
        "without its entry",
    );
    fails(
        &Tar::new()
            .pax(b'x', &[])
            .pax(b'x', &[("path", b"a")])
            .file("x", b"")
            .end(),
        "two extended headers",
    );
    let mut many = Tar::new();
    for _ in 0..70 {
        many = many.extension(b'K', b"x\0");
    }
    fails(&many.file("x", b"").end(), "limit metadata");
}

#[test]
fn unknown_types() {
    for kind in *b"DMNXZ\xff" {
        let e = read(
            &Tar::new()
                .raw(
                    &Head {
                        kind,
                        path: b"x",
                        ..Head::default()
                    },
                    |_| {},
                )
                .end(),
        )
        .unwrap_err();
        assert_eq!(e.kind, Kind::Unsupported);
    }
    let volume = Head {
        kind: b'V',
        path: b"label",
        ..Head::default()
    };
    assert_eq!(
        read(&Tar::new().raw(&volume, |_| {}).file("x", b"").end())
            .unwrap()
            .len(),
        1
    );
}

fn regions(entry: &Entry) -> Vec<(u64, u64)> {
    entry
        .sparse
        .iter()
        .flatten()
        .map(|region| (region.offset, region.len))
        .collect()
}

#[test]
fn sparse_in_all_four_forms() {
    let data = [[1; 512], [2; 512]].concat();
    let expected = vec![(1024, 512), (4096, 512)];
    let v00: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"8192"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"1024"),
        ("GNU.sparse.numbytes", b"512"),
        ("GNU.sparse.offset", b"4096"),
        ("GNU.sparse.numbytes", b"512"),
    ];
    let v01: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"8192"),
        ("GNU.sparse.map", b"1024,512,4096,512"),
        ("GNU.sparse.name", b"x"),
    ];
    let v10: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"x"),
        ("GNU.sparse.realsize", b"8192"),
    ];
    let mut map = b"2\n1024\n512\n4096\n512\n".to_vec();
    map.resize(512, 0);
    let gnu = Head {
        kind: b'S',
        path: b"x",
        size: 1024,
        gnu: true,
        ..Head::default()
    };
    for tar in [
        Tar::new().pax(b'x', v00).file("x", &data),
        Tar::new().pax(b'x', v01).file("GNUSparseFile.0/x", &data),
        Tar::new()
            .pax(b'x', v10)
            .file("GNUSparseFile.0/x", &[map, data.clone()].concat()),
        Tar::new()
            .raw(&gnu, |block| {
                octal(&mut block[386..398], 1024);
                octal(&mut block[398..410], 512);
                octal(&mut block[410..422], 4096);
                octal(&mut block[422..434], 512);
                octal(&mut block[483..495], 8192);
            })
            .data(&data),
    ] {
        let entries = read(&tar.end()).unwrap();
        assert_eq!(entries[0].0.path, b"x");
        assert_eq!(entries[0].0.size, 8192);
        assert_eq!(regions(&entries[0].0), expected);
        assert_eq!(entries[0].1, data);
    }
}

#[test]
fn sparse_maps_that_lie() {
    let with = |size: &[u8], map: &[u8], data: &[u8]| {
        Tar::new()
            .pax(b'x', &[("GNU.sparse.size", size), ("GNU.sparse.map", map)])
            .file("x", data)
            .end()
    };
    fails(&with(b"100", b"0,512", &[0; 512]), "overlap or leave");
    fails(
        &with(b"8192", b"512,512,0,512", &[0; 1024]),
        "overlap or leave",
    );
    fails(
        &with(b"8192", b"0,512,256,512", &[0; 1024]),
        "overlap or leave",
    );
    fails(
        &with(b"8192", b"18446744073709551615,2", &[0; 2]),
        "overlap or leave",
    );
    fails(&with(b"8192", b"0,512", &[0; 1024]), "hold 512 bytes");
    fails(&with(b"8192", b"0", b""), "malformed");
    fails(&with(b"8192", b"0,,1", b""), "malformed");
    fails(&with(b"18446744073709551615", b"", b""), "impossible");
    let claims: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"1"),
    ];
    fails(
        &Tar::new()
            .pax(b'x', claims)
            .file("x", &b"9999999999\n"[..])
            .end(),
        "cut off",
    );
    let mut block = b"9999999999\n".to_vec();
    block.resize(512, 0);
    fails(
        &Tar::new().pax(b'x', claims).file("x", &block).end(),
        "limit regions",
    );
    fails(
        &Tar::new().pax(b'x', claims).file("x", &[b'1'; 512]).end(),
        "not made of numbers",
    );
}

#[test]
fn numbers_of_headers() {
    assert_eq!(signed(b"0000644\0"), Some(0o644));
    assert_eq!(signed(b"   644 \0"), Some(0o644));
    assert_eq!(signed(b"\0\0\0\0"), Some(0));
    assert_eq!(signed(b"0000648\0"), None);
    assert_eq!(signed(b"-000001\0"), None);
    assert_eq!(signed(&[0xff; 12]), Some(-1));
    assert_eq!(signed(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
    assert_eq!(signed(b"\x80\0\0\0\0\0\x01\0"), Some(256));
    assert_eq!(signed(b"\x80\xff\0\0\0\0\0\0\0\0\0\0"), None);
    assert_eq!(numeric(&[0xff; 12]), None);
    assert_eq!(numeric(b"777777777777"), Some(0o777_777_777_777));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// No bytes make the parser panic or run away, headers with right sums included.
    #[test]
    fn any_bytes(blocks in prop::collection::vec((any::<[u8; 32]>(), 0_usize..480, any::<bool>()), 0..6)) {
        let mut tar = Vec::new();
        for (noise, at, sum) in blocks {
            let mut head = Tar::new().file("file", b"").0;
            head[at..at + 32].copy_from_slice(&noise);
            let mut block: [u8; 512] = head[..512].try_into().unwrap();
            if sum {
                crate::layer::testtar::checksum(&mut block);
            }
            tar.extend_from_slice(&block);
        }
        let _ = read(&tar);
        tar.extend_from_slice(&[0; 1024]);
        let _ = read(&tar);
    }
}
