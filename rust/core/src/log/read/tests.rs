//! Reading what the writer writes: tails, times, rotation, torn ends.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::document::{LogContainer, LogDocument};
use super::super::testdir::TestDir;
use super::super::{Logger, Stream, compress};
use super::{Format, More, Reader, Style, Wanted};

const NOW: Duration = Duration::ZERO;

struct Log {
    dir: TestDir,
    driver: &'static str,
    format: Format,
    options: Vec<(&'static str, &'static str)>,
}

impl Log {
    fn new(format: Format, options: &[(&'static str, &'static str)]) -> Self {
        Self {
            dir: TestDir::new(),
            driver: match format {
                Format::Json => "json-file",
                Format::Local => "local",
            },
            format,
            options: options.to_vec(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn writer(&self) -> Logger {
        let options = self
            .options
            .iter()
            .map(|&(k, v)| (k.to_owned(), v.to_owned()));
        Logger::open(&LogDocument {
            driver: self.driver.into(),
            path: self.path(),
            options: options.collect(),
            attributes: [("k".to_owned(), "a b".to_owned())].into(),
            tag: String::new(),
            container: LogContainer::default(),
        })
        .unwrap()
    }

    fn write(&self, lines: &str) {
        self.writer().write(Stream::Stdout, lines.as_bytes());
    }

    fn reader(&self, wanted: Wanted) -> Reader {
        Reader::open(&self.path(), self.format, wanted, None, None).unwrap()
    }

    fn read(&self, wanted: Wanted) -> String {
        all(&mut self.reader(wanted))
    }
}

fn both() -> Wanted {
    Wanted {
        stdout: true,
        stderr: true,
        ..Wanted::default()
    }
}

fn last(tail: u64) -> Wanted {
    Wanted {
        tail: Some(tail),
        ..both()
    }
}

fn following() -> Wanted {
    Wanted {
        follow: true,
        ..both()
    }
}

/// Everything that is there now.
fn all(reader: &mut Reader) -> String {
    let mut out = String::new();
    loop {
        let (text, more) = reader.text(Style::default(), NOW, &mut || false).unwrap();
        if more != More::Some {
            return out;
        }
        for (_, part) in text.parts {
            out.push_str(std::str::from_utf8(&part).unwrap());
        }
    }
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

const FORMATS: [Format; 2] = [Format::Json, Format::Local];

#[test]
fn a_log_that_is_not_there_is_empty() {
    let mut reader = Reader::open(
        Path::new("/does/not/exist"),
        Format::Json,
        both(),
        None,
        None,
    )
    .unwrap();
    assert_eq!(reader.lines(NOW, &mut || false).unwrap().1, More::End);
}

#[test]
fn lines_of_both_streams() {
    for format in FORMATS {
        let log = Log::new(format, &[]);
        let mut writer = log.writer();
        writer.write(Stream::Stdout, b"a\n");
        writer.write(Stream::Stderr, b"b\n");
        writer.write(Stream::Stdout, &[b'x'; 20_000]);
        writer.write(Stream::Stdout, b"\nend");
        drop(writer);
        let long = format!("{}\n", "x".repeat(20_000));
        assert_eq!(
            log.read(both()),
            format!("a\nb\n{long}"),
            "an unfinished line is written at its end only"
        );
        let only = |stdout| Wanted {
            stdout,
            stderr: !stdout,
            ..both()
        };
        assert_eq!(log.read(only(true)), format!("a\n{long}"));
        assert_eq!(log.read(only(false)), "b\n");
        let (lines, more) = log.reader(both()).lines(NOW, &mut || false).unwrap();
        assert_eq!(more, More::Some);
        assert_eq!(lines.len(), 4);
        assert_eq!(
            (lines[1].stream, &lines[1].data[..]),
            (Stream::Stderr, &b"b\n"[..])
        );
        assert_eq!(lines[0].attributes.as_ref().unwrap()["k"], "a b");
        assert!(lines[0].time <= lines[1].time);
    }
}

#[test]
fn the_last_records() {
    for format in FORMATS {
        let log = Log::new(format, &[("max-size", "2000"), ("max-file", "20")]);
        log.write(&numbers(0..200));
        assert!(fs::read_dir(log.dir.path()).unwrap().count() > 2);
        for tail in [0, 1, 7, 60, 61, 100, 150, 200, 1000] {
            let first = 200u32.saturating_sub(tail as u32);
            assert_eq!(
                log.read(last(tail)),
                numbers(first..200),
                "{format:?} {tail}"
            );
        }
        // A torn record is none.
        let mut data = fs::read(log.path()).unwrap();
        data.extend_from_slice(&data.clone()[..10]);
        fs::write(log.path(), &data).unwrap();
        assert_eq!(log.read(last(2)), numbers(198..200));
        assert_eq!(log.read(both()), numbers(0..200));
        let mut follower = log.reader(Wanted {
            follow: true,
            ..last(0)
        });
        assert_eq!(all(&mut follower), "");
        // The writer cuts it off and goes on: the follower has not taken it for the beginning of the next one.
        log.write("next\n");
        assert_eq!(all(&mut follower), "next\n");
    }
}

#[test]
fn compressed_files_are_read() {
    for format in FORMATS {
        let log = Log::new(format, &[("max-size", "2000"), ("max-file", "20")]);
        log.write(&numbers(0..200));
        for number in 2..20 {
            let file = compress::with_suffix(&log.path(), &format!(".{number}"));
            if file.exists() {
                compress::compress(&file, Some(1_000_000_000)).unwrap();
            }
        }
        assert!(log.dir.path().join("log.3.gz").exists());
        for tail in [1, 50, 100, 150, 1000] {
            let first = 200u32.saturating_sub(tail as u32);
            assert_eq!(
                log.read(last(tail)),
                numbers(first..200),
                "{format:?} {tail}"
            );
        }
        // One that says that it is too old is not opened at all.
        let since = Wanted {
            since: Some(2_000_000_000),
            ..both()
        };
        let read = log.read(since);
        assert!(read.ends_with("199\n") && read.lines().count() < 150);
        fs::write(log.dir.path().join("log.3.gz"), b"\x1f\x8bnonsense").unwrap();
        let mut reader = log.reader(both());
        let result = loop {
            match reader.lines(NOW, &mut || false) {
                Ok((_, More::Some)) => {}
                other => break other,
            }
        };
        assert_eq!(result.unwrap_err().kind, crate::Kind::Corrupt);
    }
}

#[test]
fn since_and_until() {
    let log = Log::new(Format::Json, &[]);
    let record = |second: u32| {
        format!(
            "{{\"log\":\"{second}\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:{second:02}Z\"}}\n"
        )
    };
    fs::write(log.path(), (10..20).map(record).collect::<String>()).unwrap();
    let between = |since: Option<i64>, until: Option<i64>| Wanted {
        since: since.map(|s| s * 1_000_000_000),
        until: until.map(|s| s * 1_000_000_000),
        ..both()
    };
    assert_eq!(log.read(between(Some(15), None)), numbers(15..20));
    assert_eq!(log.read(between(None, Some(12))), numbers(10..13));
    assert_eq!(log.read(between(Some(12), Some(14))), numbers(12..15));
    assert_eq!(
        log.read(Wanted {
            tail: Some(3),
            ..between(Some(12), None)
        }),
        numbers(17..20)
    );
    // The first record after it ends the log, whatever follows.
    let mut reader = log.reader(Wanted {
        follow: true,
        ..between(None, Some(12))
    });
    assert_eq!(all(&mut reader), numbers(10..13));
    assert_eq!(
        reader
            .lines(Duration::from_secs(60), &mut || false)
            .unwrap()
            .1,
        More::End
    );
}

#[test]
fn text_as_docker_prints_it() {
    let log = Log::new(Format::Json, &[]);
    let text = r#"{"log":"a\n","stream":"stdout","attrs":{"b":"x y&é","X":"y"},"time":"1970-01-01T00:00:01.5Z"}
{"log":"b\n","stream":"stdout","time":"1970-01-01T00:00:02Z"}
{"log":"c\n","stream":"stderr","time":"1970-01-01T00:00:03.123456789Z"}
"#;
    fs::write(log.path(), text).unwrap();
    let style = Style {
        timestamps: true,
        details: true,
    };
    let (text, _) = log.reader(both()).text(style, NOW, &mut || false).unwrap();
    let parts: Vec<_> = text
        .parts
        .iter()
        .map(|(stream, part)| (*stream, std::str::from_utf8(part).unwrap()))
        .collect();
    assert_eq!(
        parts,
        [
            (
                Stream::Stdout,
                "1970-01-01T00:00:01.500000000Z X=y,b=x+y%26%C3%A9 a\n1970-01-01T00:00:02.000000000Z  b\n"
            ),
            (Stream::Stderr, "1970-01-01T00:00:03.123456789Z  c\n"),
        ]
    );
}

#[test]
fn following_across_rotations() {
    for format in FORMATS {
        for compressed in [false, true] {
            let log = Log::new(format, &[("max-size", "3000"), ("max-file", "9")]);
            let mut follower = log.reader(following());
            let mut got = all(&mut follower);
            let mut next = 0;
            for step in [1, 10, 60, 3, 90, 120, 1, 150] {
                log.write(&numbers(next..next + step));
                next += step;
                let newest = compress::with_suffix(&log.path(), ".1");
                if compressed && newest.exists() {
                    compress::compress(&newest, None).unwrap();
                }
                got += &all(&mut follower);
                assert!(got == numbers(0..next), "{format:?} {compressed} {step}");
            }
            log.write(&numbers(next..next + 100));
            follower.stop_following().unwrap();
            log.write("later\n");
            got += &all(&mut follower);
            assert!(got == numbers(0..next + 100));
            assert_eq!(
                follower
                    .lines(Duration::from_secs(60), &mut || false)
                    .unwrap()
                    .1,
                More::End
            );
        }
    }
}

#[test]
fn following_a_writer() {
    let log = Log::new(Format::Json, &[("max-size", "20000"), ("max-file", "100")]);
    let mut follower = log.reader(following());
    let path = log.path();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = log.writer();
            for number in 0..3000 {
                writer.write(Stream::Stdout, format!("{number}\n").as_bytes());
            }
        });
        let mut got = String::new();
        while !got.ends_with("2999\n") {
            let (text, more) = follower
                .text(Style::default(), Duration::from_secs(30), &mut || false)
                .unwrap();
            assert_ne!(more, More::End);
            for (_, part) in text.parts {
                got.push_str(std::str::from_utf8(&part).unwrap());
            }
        }
        assert!(got == numbers(0..3000));
    });
    assert!(compress::with_suffix(&path, ".9").exists());
}

#[test]
fn snapshots_while_it_is_rotated() {
    let log = Log::new(Format::Local, &[("max-size", "2000"), ("max-file", "200")]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writer = log.writer();
            for number in 0..3000 {
                writer.write(Stream::Stdout, format!("{number}\n").as_bytes());
            }
        });
        while !writer.is_finished() {
            let got = log.read(both());
            assert!(got == numbers(0..got.lines().count() as u32));
        }
    });
    assert!(log.read(both()) == numbers(0..3000));
}

#[test]
fn what_is_no_log() {
    let log = Log::new(Format::Local, &[]);
    fs::write(log.path(), b"\x00\x00\x00\x05hello\x00\x00\x00\x06").unwrap();
    let error = log.reader(both()).lines(NOW, &mut || false).unwrap_err();
    assert_eq!(error.kind, crate::Kind::Corrupt);
    fs::remove_file(log.path()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, log.path(), rustix::fs::Mode::RUSR).unwrap();
    assert!(Reader::open(&log.path(), Format::Local, both(), None, None).is_err());
}
