//! The whole of a log: records, rotation, torn records, full disks, servers.
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::document::{LogContainer, LogDocument};
use super::testdir::TestDir;
use super::{Logger, Stream, compress};

fn document(driver: &str, path: &Path, options: &[(&str, &str)]) -> LogDocument {
    LogDocument {
        driver: driver.into(),
        path: path.to_owned(),
        options: options
            .iter()
            .map(|&(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
        attributes: BTreeMap::new(),
        tag: "tag".into(),
        container: LogContainer::default(),
    }
}

/// The text of `json-file` records.
fn text(path: &Path) -> Vec<String> {
    let file = BufReader::new(fs::File::open(path).unwrap());
    file.lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            record["log"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn both_streams_in_order() {
    let dir = TestDir::new();
    let path = dir.path().join("x-json.log");
    let mut log = Logger::open(&document("json-file", &path, &[])).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    log.write(Stream::Stdout, b"a\nb");
    log.write(Stream::Stderr, b"c\n");
    log.write(Stream::Stdout, b"d\ne");
    log.finish(Stream::Stdout);
    log.finish(Stream::Stderr);
    drop(log);
    assert_eq!(text(&path), ["a\n", "c\n", "bd\n", "e"]);
    let mut log = Logger::open(&document("json-file", &path, &[])).unwrap();
    log.write(Stream::Stdout, b"f\n");
    assert_eq!(text(&path).len(), 5);
}

#[test]
fn rotates_as_docker_does() {
    let dir = TestDir::new();
    let path = dir.path().join("log");
    let options = [("max-size", "1000"), ("max-file", "3")];
    let mut log = Logger::open(&document("json-file", &path, &options)).unwrap();
    for number in 0..100 {
        log.write(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    // One chunk as well as many.
    let chunk: String = (100..200).map(|number| format!("{number}\n")).collect();
    log.write(Stream::Stdout, chunk.as_bytes());
    assert_eq!(log.lost(), 0);
    let mut all = Vec::new();
    for suffix in [".2", ".1", ""] {
        let file = compress::with_suffix(&path, suffix);
        let size = fs::metadata(&file).unwrap().len();
        assert!(suffix.is_empty() || (1000..1100).contains(&size), "{size}");
        all.extend(text(&file));
    }
    assert!(!dir.path().join("log.3").exists());
    let expected: Vec<_> = (200 - all.len()..200).map(|n| format!("{n}\n")).collect();
    assert_eq!(all, expected);
}

#[test]
fn one_file_begins_anew() {
    let dir = TestDir::new();
    let path = dir.path().join("log");
    let options = [("max-size", "1000"), ("max-file", "1")];
    let mut log = Logger::open(&document("json-file", &path, &options)).unwrap();
    for number in 0..100 {
        log.write(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    assert!(fs::metadata(&path).unwrap().len() < 1100);
    assert_eq!(text(&path).last().unwrap(), "99\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_torn_record_is_cut_off() {
    for driver in ["json-file", "local"] {
        let dir = TestDir::new();
        let path = dir.path().join("log");
        let mut log = Logger::open(&document(driver, &path, &[])).unwrap();
        log.write(Stream::Stdout, b"first\nsecond\n");
        drop(log);
        let whole = fs::read(&path).unwrap();
        let second = whole.len() / 2;
        for cut in second + 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            drop(Logger::open(&document(driver, &path, &[])).unwrap());
            let left = fs::read(&path).unwrap();
            assert!(
                whole.starts_with(&left) && left.len() < cut,
                "{driver} {cut}"
            );
            assert!(left.len().abs_diff(second) < 5, "{driver} {cut}");
        }
        fs::write(&path, [&whole[..], &[0; 5000]].concat()).unwrap();
        drop(Logger::open(&document(driver, &path, &[])).unwrap());
        assert!(fs::read(&path).unwrap() == whole, "{driver}");
    }
}

#[test]
fn a_full_disk_loses_records_only() {
    let mut log = Logger::open(&document("json-file", Path::new("/dev/full"), &[])).unwrap();
    log.write(Stream::Stdout, b"a\nb\nc\nd");
    assert_eq!(log.lost(), 3);
    log.finish(Stream::Stdout);
    assert_eq!(log.lost(), 4);
}

#[test]
fn a_link_is_not_followed() {
    let dir = TestDir::new();
    let path = dir.path().join("log");
    symlink(dir.path().join("other"), &path).unwrap();
    assert!(Logger::open(&document("json-file", &path, &[])).is_err());
    assert!(!dir.path().join("other").exists());
}

#[test]
fn a_rotated_file_is_compressed() {
    let dir = TestDir::new();
    let path = dir.path().join("log.1");
    let data = b"{\"log\":\"x\"}\n".repeat(10_000);
    fs::write(&path, &data).unwrap();
    compress::compress(&path, Some(1_500_000_000)).unwrap();
    assert!(!path.exists());
    let packed = fs::read(dir.path().join("log.1.gz")).unwrap();
    assert!(packed.len() < data.len() / 10);
    let mut decoder = flate2::read::GzDecoder::new(&packed[..]);
    let mut back = Vec::new();
    decoder.read_to_end(&mut back).unwrap();
    assert_eq!(back, data);
    assert_eq!(
        decoder.header().unwrap().extra().unwrap(),
        b"{\"lastTime\":\"1970-01-01T00:00:01.5Z\"}"
    );
}

fn syslog(server: &TcpListener, mode: &str, cache: &Path) -> Logger {
    let address = format!("tcp://{}", server.local_addr().unwrap());
    let options = [
        ("syslog-address", &address[..]),
        ("mode", mode),
        ("max-buffer-size", "5000"),
    ];
    Logger::open(&document("syslog", cache, &options)).unwrap()
}

#[test]
fn a_slow_server_makes_the_container_wait() {
    let dir = TestDir::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut log = syslog(&server, "blocking", &dir.path().join("cache"));
    let peer = server.accept().unwrap().0;
    let mut written = 0u32;
    let mut chunk = |log: &mut Logger| {
        let lines: String = (0..500)
            .map(|n| format!("{}\n", written * 500 + n))
            .collect();
        written += 1;
        log.write(Stream::Stdout, lines.as_bytes());
    };
    while log.waits().is_none() {
        chunk(&mut log);
    }
    assert!(log.waits().unwrap().pause);
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(peer).lines();
        lines
            .map(|line| line.unwrap().rsplit(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    });
    while log.waits().is_some() {
        log.flush();
    }
    chunk(&mut log);
    assert_eq!(log.lost(), 0);
    drop(log);
    let expected: Vec<_> = (0..written * 500).map(|n| n.to_string()).collect();
    assert!(reader.join().unwrap() == expected);
    // The copy is complete as well.
    assert!(fs::metadata(dir.path().join("cache")).unwrap().len() > u64::from(written) * 500 * 20);
}

#[test]
fn a_container_that_does_not_wait_loses_the_newest() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut log = syslog(&server, "non-blocking", Path::new(""));
    let mut peer = server.accept().unwrap().0;
    let line = [b"x".repeat(1000), b"\n".to_vec()].concat();
    let mut count = 0;
    while log.lost() == 0 {
        log.write(Stream::Stdout, &line);
        count += 1;
    }
    assert!(!log.waits().unwrap().pause);
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        all.lines().count()
    });
    while log.waits().is_some() {
        log.flush();
    }
    let lost = log.lost();
    assert_eq!(lost, 1);
    drop(log);
    assert_eq!(reader.join().unwrap(), count - 1);
}

#[test]
fn a_server_that_takes_nothing_does_not_hold_up_the_end() {
    let dir = TestDir::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let cache = dir.path().join("cache");
    let mut log = syslog(&server, "blocking", &cache);
    while log.waits().is_none() {
        log.write(Stream::Stdout, &b"y\n".repeat(1000));
    }
    log.write(Stream::Stdout, b"last\n");
    drop(log);
    let copy = fs::read(&cache).unwrap();
    assert!(copy.windows(4).any(|part| part == b"last"));
}

#[test]
fn a_server_that_reads_slowly_gets_all_in_the_end() {
    let dir = TestDir::new();
    let place = dir.path().join("server");
    let server = UnixDatagram::bind(&place).unwrap();
    let address = format!("unixgram://{}", place.display());
    let options = [("syslog-address", &address[..])];
    let mut log = Logger::open(&document("syslog", &dir.path().join("cache"), &options)).unwrap();
    let queue = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let count = queue.trim().parse::<usize>().unwrap() + 60;
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 1000];
        // Twice as long for the last 60 as a server may take nothing.
        for _ in 0..count {
            std::thread::sleep(Duration::from_millis(40));
            server.recv(&mut buffer).unwrap();
        }
    });
    log.write(Stream::Stdout, &b"line\n".repeat(count));
    log.finish(Stream::Stdout);
    assert_eq!(log.lost(), 0);
    reader.join().unwrap();
}

#[test]
fn nonsense_is_refused() {
    for (driver, options) in [
        ("gelf", &[][..]),
        ("json-file", &[("max-size", "1m")][..]),
        ("json-file", &[("mode", "x")][..]),
        ("syslog", &[("syslog-format", "x")][..]),
    ] {
        let dir = TestDir::new();
        let path = dir.path().join("log");
        assert!(
            Logger::open(&document(driver, &path, options)).is_err(),
            "{driver}"
        );
    }
}

#[test]
fn who_does_not_wait_loses_nothing_in_the_file() {
    let dir = TestDir::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let cache = dir.path().join("cache");
    let mut log = syslog(&server, "blocking", &cache);
    let chunk = b"0123456789012345678901234567890123456789012345678901234567890\n".repeat(1000);
    for _ in 0..200 {
        log.write(Stream::Stdout, &chunk);
    }
    drop(log);
    let copy = fs::read(&cache).unwrap();
    assert_eq!(
        memchr::memmem::find_iter(&copy, b"34567890\0").count(),
        200_000
    );
}
