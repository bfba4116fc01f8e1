use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;

use super::super::testdir::TestDir;
use super::super::testtar::Tar;
use super::super::{Control, Limits, Options, Owner, unpack};
use super::*;

fn file(content: &[u8]) -> OwnedFd {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = rustix::fs::memfd_create("spool", flags).unwrap();
    rustix::io::write(&file, content).unwrap();
    file
}

/// Everything to the end, in pieces of `step` bytes.
fn read_all(spool: &Spool, step: usize) -> Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), vec![0; step]);
    loop {
        match spool.read_at(&mut buf, all.len() as u64, || Ok(()))? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

proptest! {
    #[test]
    fn readers_get_what_was_written(
        there in proptest::collection::vec(any::<u8>(), 0..200),
        beyond in proptest::collection::vec(any::<u8>(), 0..50),
        writes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..12),
        steps in [1_usize..400, 1_usize..400],
    ) {
        let spool = Spool::new(file(&[&there[..], &beyond].concat()), there.len() as u64).unwrap();
        let expected = [&there[..], &writes.concat()].concat();
        std::thread::scope(|scope| {
            let readers = steps.map(|step| scope.spawn({ let spool = &spool; move || read_all(spool, step) }));
            for part in &writes {
                spool.write(part).unwrap();
            }
            spool.finish();
            for reader in readers {
                assert_eq!(reader.join().unwrap().unwrap(), expected);
            }
        });
        prop_assert_eq!(spool.size(), expected.len() as u64);
    }
}

#[test]
fn its_file_is_checked() {
    let pipe = rustix::pipe::pipe().unwrap().1;
    let read_only = File::open("/proc/self/exe").unwrap().into();
    for (file, size) in [(pipe, 0), (read_only, 0), (file(b"ab"), 3)] {
        assert_eq!(Spool::new(file, size).unwrap_err().kind, Kind::Invalid);
    }
}

#[test]
fn an_ended_spool_takes_nothing_and_stays_as_it_ended() {
    let spool = Spool::new(file(b"ab"), 2).unwrap();
    spool.finish();
    spool.fail();
    assert_eq!(spool.write(b"c").unwrap_err().kind, Kind::Conflict);
    assert_eq!(read_all(&spool, 10).unwrap(), b"ab");
    let spool = Spool::new(file(b"ab"), 2).unwrap();
    spool.fail();
    spool.finish();
    let error = read_all(&spool, 10).unwrap_err();
    assert_eq!(error.errno, Some(libc::ECANCELED));
    assert_eq!(error.to_string(), "read layer: its download failed");
}

#[test]
fn a_file_that_somebody_shortens_is_an_error() {
    let content = file(b"abcdef");
    let spool = Spool::new(content.try_clone().unwrap(), 6).unwrap();
    rustix::fs::ftruncate(&content, 2).unwrap();
    spool.finish();
    assert_eq!(read_all(&spool, 10).unwrap_err().kind, Kind::Busy);
}

#[test]
fn what_does_not_fit_is_not_there() {
    let seals = rustix::fs::SealFlags::GROW;
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let content = rustix::fs::memfd_create("spool", flags).unwrap();
    rustix::fs::fcntl_add_seals(&content, seals).unwrap();
    let spool = Spool::new(content, 0).unwrap();
    assert_eq!(spool.write(b"abc").unwrap_err().kind, Kind::Denied);
    assert_eq!(spool.size(), 0);
}

/// Unpacks from a spool while `fill` fills it.
fn unpack_while(
    limits: Limits,
    control: &Arc<Control>,
    fill: impl FnOnce(&Spool) + Send,
) -> Result<String> {
    let (target, spool) = (TestDir::new(), Spool::new(file(b""), 0).unwrap());
    let options = Options {
        limits,
        owner: Owner::Caller,
        ..Options::default()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&spool));
        let target = File::open(target.path()).unwrap().into();
        unpack(&spool, target, None, &options, control).map(|done| done.digests.diff_id)
    })
}

fn tar() -> Vec<u8> {
    Tar::new()
        .file("a", &[1; 5000])
        .dir("d", 0o755)
        .file("d/b", b"2")
        .end()
}

#[test]
fn a_slow_writer_is_waited_for() {
    let tar = tar();
    let diff_id = unpack_while(Limits::default(), &Arc::default(), |spool| {
        for part in tar.chunks(700) {
            spool.write(part).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        spool.finish();
    });
    use sha2::Digest as _;
    let expected = super::super::digest::format(sha2::Sha256::new_with_prefix(&tar));
    assert_eq!(diff_id.unwrap(), expected);
}

#[test]
fn a_failed_download_ends_the_unpacking() {
    let error = unpack_while(Limits::default(), &Arc::default(), |spool| {
        spool.write(&tar()[..1000]).unwrap();
        spool.fail();
    });
    assert_eq!(error.unwrap_err().errno, Some(libc::ECANCELED));
}

#[test]
fn a_download_that_ends_early_is_truncated() {
    let error = unpack_while(Limits::default(), &Arc::default(), |spool| {
        spool.write(&tar()[..1000]).unwrap();
        spool.finish();
    });
    assert_eq!(error.unwrap_err().kind, Kind::Corrupt);
}

/// Each of these would wait for ever: the spool is ended only after unpacking has.
#[test]
fn cancel_deadline_and_bad_archives_do_not_wait_for_the_download() {
    let ended = AtomicBool::new(false);
    let wait = || {
        while !ended.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let run = |limits, control: &Arc<Control>, bytes: &[u8]| {
        ended.store(false, Relaxed);
        let (target, spool) = (TestDir::new(), Spool::new(file(b""), 0).unwrap());
        spool.write(bytes).unwrap();
        let options = Options {
            limits,
            owner: Owner::Caller,
            ..Options::default()
        };
        std::thread::scope(|scope| {
            scope.spawn(wait);
            let target = File::open(target.path()).unwrap().into();
            let result = unpack(&spool, target, None, &options, control);
            ended.store(true, Relaxed);
            result.unwrap_err()
        })
    };
    let control = Arc::new(Control::default());
    let error = std::thread::scope(|scope| {
        let control = &control;
        scope.spawn(move || {
            while control.entries.load(Relaxed) == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            control.cancel();
        });
        // The second entry is there in part: the chunk with the first is complete, so the parser has seen it.
        run(Limits::default(), control, &big_start())
    });
    assert_eq!(error.errno, Some(libc::EINTR));
    let limits = Limits {
        time: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    assert_eq!(
        run(limits, &Arc::default(), &tar()[..100]).kind,
        Kind::Timeout
    );
    let mut bad = big_start();
    bad[..100].fill(b'/');
    bad[..2].copy_from_slice(b"..");
    assert_ne!(
        run(Limits::default(), &Arc::default(), &bad).errno,
        Some(libc::EINTR)
    );
}

/// More than one chunk of an archive whose second entry lacks its end.
fn big_start() -> Vec<u8> {
    let mut tar = Tar::new()
        .file("a", b"1")
        .file("b", &vec![1; 3 << 20])
        .end();
    tar.truncate(2 << 20);
    tar
}
