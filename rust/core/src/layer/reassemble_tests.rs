use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::testdir::TestDir;
use super::super::testtar::{Head, Tar, octal};
use super::super::{Compression, Control, CreateOptions, Options, Sink, tar_tree, unpack};
use super::*;

fn memfd(data: &[u8]) -> File {
    let mut file =
        File::from(rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.write_all(data).unwrap();
    file.rewind().unwrap();
    file
}

fn open(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

/// Unpacks `tar` into the empty directory `tree`; returns the tar-split file and the diff id.
fn unpacked(tar: &[u8], tree: &Path) -> Result<(File, String)> {
    let split = memfd(b"");
    let control = Arc::new(Control::default());
    let kept = split.try_clone().unwrap();
    let source = memfd(tar);
    let done = unpack(
        std::os::fd::AsFd::as_fd(&source),
        open(tree),
        Some(split),
        &Options::default(),
        &control,
    )?;
    assert_eq!(done.digests.size, tar.len() as u64);
    Ok((kept, done.digests.diff_id))
}

fn rebuilt(tree: &Path, split: &File, expected: Option<&str>) -> Result<Vec<u8>> {
    let mut out = memfd(b"");
    let sink = Sink::new(
        out.try_clone().unwrap().into(),
        Compression::None,
        None,
        &Arc::default(),
    )
    .unwrap();
    reassemble(open(tree), split, sink, expected)?;
    let mut bytes = Vec::new();
    out.rewind().unwrap();
    out.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

fn round_trip(tar: &[u8]) {
    let tmp = TestDir::new();
    let (split, diff_id) = unpacked(tar, tmp.path()).unwrap();
    assert!(rebuilt(tmp.path(), &split, Some(&diff_id)).unwrap() == tar);
}

#[test]
fn ordinary_and_odd_layers() {
    round_trip(&[0; 1024]);
    round_trip(&[Tar::new().file("a", b"hello").end(), vec![0; 9216]].concat());
    let mut padding = Tar::new().file("a", b"hello").end();
    // Padding after content need not be zeros.
    padding[600] = 7;
    round_trip(&padding);
    round_trip(
        &Tar::new()
            .file(".wh.gone", b"content of a whiteout")
            .file(".wh..wh.x", b"aufs")
            .end(),
    );
    round_trip(
        &Tar::new()
            .file("big", &vec![3; 700_001])
            .file("empty", b"")
            .end(),
    );
}

#[test]
fn content_that_a_later_entry_replaced() {
    round_trip(
        &Tar::new()
            .file("a", b"first")
            .file("a", b"second")
            .file("a", b"")
            .file("a", b"4")
            .end(),
    );
    round_trip(
        &Tar::new()
            .file("d/x", b"1")
            .file("d/y/z", b"2")
            .file("d", b"3")
            .end(),
    );
    round_trip(&Tar::new().file("d/x", b"1").symlink("d", "elsewhere").end());
    round_trip(
        &Tar::new()
            .file("a", b"1")
            .hardlink("b", "a")
            .file("b", b"2")
            .file("a", b"3")
            .end(),
    );
    round_trip(
        &Tar::new()
            .file("a", b"1")
            .file("b", b"2")
            .hardlink("b", "a")
            .end(),
    );
    // Through a link, whose own name then means something else.
    let tar = Tar::new()
        .dir("c", 0o755)
        .symlink("a", "c")
        .file("a/x", b"by link")
        .file("c/y", b"plain")
        .file("a/y", b"by link again")
        .file("c/x", b"plain again")
        .file("a", b"no link any more");
    round_trip(&tar.end());
}

#[test]
fn sparse_layers() {
    let data = [[1; 512], [2; 512]].concat();
    let gnu = Head {
        kind: b'S',
        path: b"x",
        size: 1024,
        gnu: true,
        ..Head::default()
    };
    let sparse = |tar: Tar| {
        tar.raw(&gnu, |block| {
            octal(&mut block[386..398], 1024);
            octal(&mut block[398..410], 512);
            octal(&mut block[410..422], 4096);
            octal(&mut block[422..434], 512);
            octal(&mut block[483..495], 8192);
        })
        .data(&data)
    };
    round_trip(&sparse(Tar::new()).end());
    round_trip(
        &sparse(sparse(Tar::new()).file("y", b""))
            .file("x", b"whole")
            .end(),
    );
    let tmp = TestDir::new();
    unpacked(&sparse(Tar::new()).end(), tmp.path()).unwrap();
    let mut expected = vec![0; 8192];
    expected[1024..1536].fill(1);
    expected[4096..4608].fill(2);
    assert_eq!(fs::read(tmp.path().join("x")).unwrap(), expected);
}

#[test]
fn a_changed_tree_is_noticed() {
    let tar = Tar::new()
        .file("a", b"hello")
        .dir("d", 0o755)
        .file("d/b", b"world")
        .end();
    let change = |what: &dyn Fn(&Path)| {
        let tmp = TestDir::new();
        let (split, diff_id) = unpacked(&tar, tmp.path()).unwrap();
        what(tmp.path());
        rebuilt(tmp.path(), &split, Some(&diff_id))
            .unwrap_err()
            .kind
    };
    assert_eq!(
        change(&|top| fs::write(top.join("a"), b"HELLO").unwrap()),
        Kind::Corrupt
    );
    assert_eq!(
        change(&|top| fs::write(top.join("a"), b"hell").unwrap()),
        Kind::Corrupt
    );
    assert_eq!(
        change(&|top| fs::remove_file(top.join("a")).unwrap()),
        Kind::Corrupt
    );
    assert_eq!(
        change(&|top| {
            fs::remove_dir_all(top.join("d")).unwrap();
            std::os::unix::fs::symlink("/etc", top.join("d")).unwrap();
        }),
        Kind::Corrupt
    );
    assert_eq!(
        change(&|top| {
            fs::remove_file(top.join("a")).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", top.join("a")).unwrap();
        }),
        Kind::Corrupt
    );
}

#[test]
fn damaged_tar_split_files() {
    let tmp = TestDir::new();
    let (mut split, _) = unpacked(&Tar::new().file("a", b"hello").end(), tmp.path()).unwrap();
    let mut bytes = Vec::new();
    split.rewind().unwrap();
    split.read_to_end(&mut bytes).unwrap();
    for len in 0..bytes.len() {
        assert_eq!(
            rebuilt(tmp.path(), &memfd(&bytes[..len]), None)
                .unwrap_err()
                .kind,
            Kind::Corrupt,
            "{len}"
        );
    }
    let made =
        |records: &[u8]| memfd(&zstd::encode_all(&[MAGIC, records].concat()[..], 1).unwrap());
    for bad in [
        &b""[..],
        b"\x09",
        b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x02\x06../etc\x00\x00",
        b"\x02\x04/etc\x00\x00",
        b"\x02\xff\xff\xff\xff\x0f",
        b"\x03\x01a\xff\xff\xff\xff\xff\xff\xff\xff\x7fxx",
        b"\x02\x01a\x01\x00\x06\x00",
    ] {
        let e = rebuilt(tmp.path(), &made(bad), None).unwrap_err();
        assert_eq!(e.kind, Kind::Corrupt, "{bad:?} {e}");
    }
}

/// One step of a made-up archive.
#[derive(Debug, Clone)]
enum Step {
    File(usize, Vec<u8>),
    Dir(usize, u32),
    Symlink(usize, usize),
    Hardlink(usize, usize),
    Whiteout(usize),
    Opaque(usize),
}

const NAMES: [&str; 8] = ["a", "b", "a/x", "a/y", "b/x", "b/a/x", "a/x/z", "c"];

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    prop_oneof![
        4 => (name.clone(), prop::collection::vec(any::<u8>(), 0..1200)).prop_map(|(n, d)| Step::File(n, d)),
        2 => (name.clone(), 0..0o7777_u32).prop_map(|(n, m)| Step::Dir(n, m | 0o700)),
        1 => (name.clone(), name.clone()).prop_map(|(n, t)| Step::Symlink(n, t)),
        1 => (name.clone(), name.clone()).prop_map(|(n, t)| Step::Hardlink(n, t)),
        1 => name.clone().prop_map(Step::Whiteout),
        1 => name.prop_map(Step::Opaque),
    ]
}

fn archive(steps: &[Step]) -> Vec<u8> {
    let mut tar = Tar::new();
    for step in steps {
        tar = match step {
            Step::File(name, data) => tar.file(NAMES[*name], data),
            Step::Dir(name, mode) => tar.dir(NAMES[*name], *mode),
            Step::Symlink(name, target) => tar.symlink(NAMES[*name], NAMES[*target]),
            Step::Hardlink(name, target) => tar.hardlink(NAMES[*name], NAMES[*target]),
            Step::Whiteout(name) => {
                let (dir, base) = NAMES[*name]
                    .rsplit_once('/')
                    .map_or((String::new(), NAMES[*name]), |(d, b)| (format!("{d}/"), b));
                tar.file(&format!("{dir}.wh.{base}"), b"")
            }
            Step::Opaque(name) => tar.file(&format!("{}/.wh..wh..opq", NAMES[*name]), b""),
        };
    }
    tar.end()
}

fn tarred(tree: &Path) -> (Vec<u8>, String) {
    let mut out = memfd(b"");
    let sink = Sink::new(
        out.try_clone().unwrap().into(),
        Compression::None,
        None,
        &Arc::default(),
    )
    .unwrap();
    let options = CreateOptions {
        top: true,
        ..CreateOptions::default()
    };
    let (digests, _) = tar_tree(open(tree), sink, &options, &Control::default()).unwrap();
    let mut bytes = Vec::new();
    out.rewind().unwrap();
    out.read_to_end(&mut bytes).unwrap();
    (bytes, digests.diff_id)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever unpacks can be written again byte for byte, and its tree survives tar and unpacking.
    #[test]
    fn any_archive(steps in prop::collection::vec(step(), 0..14)) {
        let tar = archive(&steps);
        let tmp = TestDir::new();
        let (one, two) = (tmp.path().join("1"), tmp.path().join("2"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        if let Ok((split, diff_id)) = unpacked(&tar, &one) {
            prop_assert!(rebuilt(&one, &split, Some(&diff_id)).unwrap() == tar);
            let (again, digest) = tarred(&one);
            let (_, diff_id) = unpacked(&again, &two).unwrap();
            prop_assert_eq!(&digest, &diff_id);
            prop_assert_eq!(tarred(&two).1, digest);
        }
    }
}
