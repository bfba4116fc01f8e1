use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::append::append_at;
use super::*;
use crate::stop::Stop;

/// A directory of events that does not exist yet, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("minidock-events-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn current(&self) -> PathBuf {
        self.0.join(CURRENT)
    }

    fn all(&self) -> Vec<serde_json::Value> {
        read(&mut Reader::new(&self.0, Range::default()).unwrap())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn add(dir: &Path, id: &str, time: u64) {
    let event = Event {
        kind: "container",
        action: "start",
        id,
        attributes: &BTreeMap::from([("name".into(), "wörld".into())]),
    };
    append_at(dir, &event, || time).unwrap();
}

fn parsed(lines: &[u8]) -> impl Iterator<Item = serde_json::Value> {
    serde_json::Deserializer::from_slice(lines)
        .into_iter()
        .map(Result::unwrap)
}

/// All until the end, or until nothing comes any more.
fn read(reader: &mut Reader) -> Vec<serde_json::Value> {
    let stop = Stop::new().unwrap();
    let mut found = Vec::new();
    while let Batch::Lines(lines) = reader
        .next(&stop, Some(Instant::now()), &mut || false)
        .unwrap()
    {
        found.extend(parsed(&lines));
    }
    found
}

fn ids(events: &[serde_json::Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["Actor"]["ID"].as_str().unwrap())
        .collect()
}

fn numbers(events: &[serde_json::Value], key: &str) -> Vec<u64> {
    events
        .iter()
        .map(|event| event[key].as_u64().unwrap())
        .collect()
}

#[test]
fn times_grow_whatever_the_clock_does() {
    let dir = Dir::new();
    for time in [1000, 1000, 500, 2000, 0, u64::MAX, 5] {
        add(&dir.0, "a", time);
    }
    let events = dir.all();
    let expected = [1000, 1001, 1002, 2000, 2001, u64::MAX, u64::MAX];
    assert_eq!(numbers(&events, "timeNano"), expected);
    assert_eq!(numbers(&events, "seq"), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_torn_line_is_passed_over_wherever_it_was_torn() {
    let dir = Dir::new();
    add(&dir.0, "first", 1);
    let whole = fs::read(dir.current()).unwrap();
    add(&dir.0, "second", 2);
    let both = fs::read(dir.current()).unwrap();
    for end in whole.len() + 1..both.len() {
        fs::write(dir.current(), &both[..end]).unwrap();
        assert_eq!(ids(&dir.all()), ["first"]);
        add(&dir.0, "third", 3);
        add(&dir.0, "fourth", 3);
        let events = dir.all();
        // Only the line's end was missing: the event had happened.
        let second = end == both.len() - 1;
        let expected: &[&str] = if second {
            &["first", "second", "third", "fourth"]
        } else {
            &["first", "third", "fourth"]
        };
        assert_eq!(ids(&events), expected, "{end}");
        assert!(numbers(&events, "timeNano").is_sorted_by(|a, b| a < b));
        assert!(numbers(&events, "seq").is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn damage_costs_only_itself() {
    let dir = Dir::new();
    add(&dir.0, "first", 10);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(dir.current())
        .unwrap();
    file.write_all(&vec![0; 300_000]).unwrap();
    add(&dir.0, "second", 1);
    file.write_all(b"\n\n{}\n[1]\nnonsense\xff\n").unwrap();
    add(&dir.0, "third", 1);
    let events = dir.all();
    assert_eq!(ids(&events), ["first", "second", "third"]);
    assert_eq!(numbers(&events, "timeNano"), [10, 11, 12]);
    // Nothing to go on from at all: it is put away.
    fs::write(dir.current(), vec![b'x'; 3 << 20]).unwrap();
    add(&dir.0, "fourth", 1);
    assert_eq!(ids(&dir.all()), ["fourth"]);
}

#[test]
fn the_last_ten_thousand_are_kept_and_no_more_than_twice_as_many() {
    let dir = Dir::new();
    let mut reader = Reader::new(
        &dir.0,
        Range {
            follow: true,
            ..Range::default()
        },
    )
    .unwrap();
    let total = 3 * SEGMENT + 5;
    let mut followed = Vec::new();
    for n in 0..total {
        add(&dir.0, "a", n);
        if n.is_multiple_of(777) {
            followed.extend(read(&mut reader));
        }
        if n + 1 == 2 * SEGMENT {
            let kept = numbers(&dir.all(), "seq");
            assert_eq!(kept, (0..2 * SEGMENT).collect::<Vec<_>>());
        }
    }
    followed.extend(read(&mut reader));
    let whole: Vec<u64> = (0..total).collect();
    assert_eq!(numbers(&followed, "seq"), whole);
    assert_eq!(numbers(&dir.all(), "seq"), whole[2 * SEGMENT as usize..]);
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 2);
}

#[test]
fn a_range_is_what_it_says() {
    let dir = Dir::new();
    let first = Reader::new(&dir.0, Range::default());
    assert_eq!(read(&mut first.unwrap()), [0; 0]);
    for time in [10, 20, 30, 40] {
        add(&dir.0, "a", time);
    }
    let times = |since, until| {
        let range = Range {
            since,
            until,
            follow: false,
        };
        numbers(&read(&mut Reader::new(&dir.0, range).unwrap()), "timeNano")
    };
    assert_eq!(times(Some(20), Some(30)), [20, 30]);
    assert_eq!(times(None, Some(19)), [10]);
    assert_eq!(times(Some(21), None), [30, 40]);
    assert_eq!(times(Some(50), None), [0; 0]);
    assert_eq!(times(Some(30), Some(20)), [0; 0]);
    // What comes later is not part of a reader that does not follow.
    let mut reader = Reader::new(&dir.0, Range::default()).unwrap();
    add(&dir.0, "later", 50);
    assert_eq!(numbers(&read(&mut reader), "timeNano"), [10, 20, 30, 40]);
    let follow = Range {
        since: Some(40),
        until: Some(60),
        follow: true,
    };
    let mut reader = Reader::new(&dir.0, follow).unwrap();
    add(&dir.0, "in", 60);
    add(&dir.0, "out", 60);
    assert_eq!(numbers(&read(&mut reader), "timeNano"), [40, 50, 60]);
    let end = reader.next(&Stop::new().unwrap(), None, &mut || false);
    assert_eq!(end.unwrap(), Batch::End);
}

/// Four writers, one reader that follows them across switches: everything arrives, once, in order.
fn follow_writers(inotify: bool) {
    let dir = Dir::new();
    let range = Range {
        follow: true,
        ..Range::default()
    };
    let mut reader = Reader::new(&dir.0, range).unwrap();
    if !inotify {
        reader.poll_only();
    }
    let each = 3000u64;
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let dir = &dir.0;
            scope.spawn(move || {
                for n in 0..each {
                    add(dir, &format!("{writer}-{n}"), super::append::now());
                }
            });
        }
        let (stop, deadline) = (
            Stop::new().unwrap(),
            Instant::now() + Duration::from_secs(60),
        );
        let mut found = Vec::new();
        while found.len() < 4 * each as usize {
            match reader.next(&stop, Some(deadline), &mut || false).unwrap() {
                Batch::Lines(lines) => found.extend(parsed(&lines)),
                other => panic!("{other:?} after {} events", found.len()),
            }
        }
        assert_eq!(numbers(&found, "seq"), (0..4 * each).collect::<Vec<_>>());
        assert!(numbers(&found, "timeNano").is_sorted_by(|a, b| a < b));
        for writer in 0..4 {
            let own = found.iter().filter_map(|event| {
                let id = event["Actor"]["ID"].as_str().unwrap();
                id.strip_prefix(&format!("{writer}-"))
            });
            assert!(own.map(|n| n.parse::<u64>().unwrap()).eq(0..each));
        }
    });
}

#[test]
fn a_follower_sees_everything_once() {
    follow_writers(true);
}

#[test]
fn a_follower_does_without_inotify() {
    follow_writers(false);
}

#[test]
fn a_slow_follower_goes_on_with_what_is_kept() {
    let dir = Dir::new();
    let range = Range {
        follow: true,
        ..Range::default()
    };
    add(&dir.0, "before", 1);
    let mut reader = Reader::new(&dir.0, range).unwrap();
    for n in 0..4 * SEGMENT {
        add(&dir.0, "a", n);
    }
    let seen = numbers(&read(&mut reader), "seq");
    // The rest of its own file, which it holds open, and all that the directory still has.
    let expected: Vec<u64> = (1..SEGMENT).chain(3 * SEGMENT..=4 * SEGMENT).collect();
    assert_eq!(seen, expected);
}

#[test]
fn waiting_ends_at_deadlines_stops_signals_and_the_end_of_the_range() {
    let dir = Dir::new();
    let reader = |until| {
        let range = Range {
            since: None,
            until,
            follow: true,
        };
        Reader::new(&dir.0, range).unwrap()
    };
    let stop = Stop::new().unwrap();
    let soon = Some(Instant::now() + Duration::from_millis(20));
    let late = reader(None).next(&stop, soon, &mut || false);
    assert_eq!(late.unwrap(), Batch::Late);
    let until = Some(super::append::now() + 20_000_000);
    let end = reader(until).next(&stop, None, &mut || false);
    assert_eq!(end.unwrap(), Batch::End);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            stop.stop();
        });
        let end = reader(None).next(&stop, None, &mut || false);
        assert_eq!(end.unwrap(), Batch::End);
    });
    let mut removed = reader(None);
    fs::remove_dir_all(&dir.0).unwrap();
    let stop = Stop::new().unwrap();
    let error = removed.next(&stop, None, &mut || false).unwrap_err();
    assert_eq!(error.kind, crate::Kind::NotFound);
}
