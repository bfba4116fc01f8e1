//! Watching with real changes in namespaces, and real processes that wait for each other.
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::net::in_new_namespace;
use crate::net::nft::{Batch, Family, Rule, Verdict, read};
use crate::net::testnet::{Files, commit, network, port};

const TABLE: &str = "minidock-test";

/// Waits for the descriptor, as a supervisor's loop does; false if nothing comes for so long.
fn wait(guard: &Guard, milliseconds: i64) -> bool {
    let Some(fd) = guard.fd() else {
        return false;
    };
    let fd = crate::sys::borrow_fd(fd.as_raw_fd());
    let timeout = Timespec {
        tv_sec: milliseconds / 1000,
        tv_nsec: (milliseconds % 1000) * 1_000_000,
    };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).is_ok_and(|n| n > 0)
}

/// A guard that watches, with nothing to do, and what is before it.
fn watching(files: &Files) -> (Guard, Firewall, u64) {
    let mut guard = Guard::new(files.path().to_owned(), TABLE.to_owned());
    assert_eq!(guard.deadline_ms(), Some(0));
    guard.turn(1, false);
    assert!(guard.is_watching());
    // What was missing when it began is made.
    let due = guard.deadline_ms().unwrap();
    guard.turn(due, false);
    assert_eq!(guard.deadline_ms(), None);
    let firewall = Firewall::new(TABLE);
    assert!(firewall.verify(files.path()).unwrap());
    let mut now = due + PAUSE_MS;
    settle(&mut guard, &mut now);
    (guard, firewall, now)
}

/// Until there is nothing to do any more.
fn settle(guard: &mut Guard, now: &mut u64) {
    while wait(guard, 0) {
        guard.turn(*now, true);
    }
    while let Some(due) = guard.deadline_ms() {
        *now = due;
        guard.turn(due, wait(guard, 0));
    }
}

/// The names of tables that have chains.
fn tables() -> Vec<String> {
    let chains = read::chains(&Socket::open().unwrap()).unwrap();
    chains.into_iter().map(|found| found.table).collect()
}

fn filled() -> Files {
    let files = Files::new();
    let net = network(1);
    files.network(&net);
    files.ports(&net, &[port(8080, "10.9.1.2")]);
    files
}

#[test]
fn what_others_change_is_repaired() {
    in_new_namespace(|| {
        let files = filled();
        let (mut guard, firewall, mut now) = watching(&files);
        let damages: [&dyn Fn(&mut Batch); 3] = [
            &|batch| batch.delete_table(Family::Inet, TABLE),
            &|batch| batch.delete_rules(Family::Inet, TABLE, "forward", None),
            &|batch| {
                let key = [6, 0, 0, 0, 0x1f, 0x90, 0, 0];
                let key = [(&key[..], true)].into_iter();
                batch.delete_elements(Family::Inet, TABLE, "ports4", key);
            },
        ];
        for damage in damages {
            commit(damage);
            assert!(wait(&guard, 10_000));
            guard.turn(now, true);
            let due = guard.deadline_ms().unwrap();
            let gone = !tables().contains(&TABLE.to_owned());
            let latest = if gone { SETTLE_MS } else { PAUSE_MS };
            assert!(due >= now && due <= now + latest, "{due} {now}");
            assert!(!firewall.verify(files.path()).unwrap());
            guard.turn(due, false);
            assert!(firewall.verify(files.path()).unwrap());
            now = due;
            settle(&mut guard, &mut now);
        }
        guard.end();
    });
}

#[test]
fn others_sets_are_no_reason_to_look() {
    in_new_namespace(|| {
        let files = filled();
        let (mut guard, _, now) = watching(&files);
        let set = crate::net::nft::Set {
            name: "s".to_owned(),
            flags: 0,
            key: (7, 4),
            data: None,
        };
        commit(|batch| {
            batch.add_table(Family::Inet, "others");
            batch.add_set(Family::Inet, "others", &set);
        });
        let mut later = now;
        settle(&mut guard, &mut later);
        let none = crate::net::nft::Data::None;
        commit(|batch| {
            let element = [(&[1, 2, 3, 4][..], true, &none)].into_iter();
            batch.add_elements(Family::Inet, "others", "s", element);
        });
        assert!(wait(&guard, 10_000));
        guard.turn(later, true);
        assert_eq!(guard.deadline_ms(), None);
    });
}

/// Somebody's base chain that appears and drops what is forwarded.
#[test]
fn new_obstacles_are_opened() {
    in_new_namespace(|| {
        let files = filled();
        let (mut guard, firewall, mut now) = watching(&files);
        let chain = crate::net::nft::Chain {
            name: "FORWARD".to_owned(),
            hook: Some(crate::net::nft::Hook {
                kind: "filter".to_owned(),
                number: 2,
                priority: 0,
                accept: false,
            }),
        };
        commit(|batch| {
            batch.add_table(Family::Ip, "filter");
            batch.add_chain(Family::Ip, "filter", &chain);
        });
        assert!(!firewall.verify(files.path()).unwrap());
        settle(&mut guard, &mut now);
        assert!(firewall.verify(files.path()).unwrap());
    });
}

#[test]
fn more_changes_than_the_socket_holds() {
    in_new_namespace(|| {
        let files = filled();
        let (mut guard, firewall, mut now) = watching(&files);
        commit(|batch| batch.delete_table(Family::Inet, TABLE));
        let rule = Rule::new("x").verdict(&Verdict::Accept);
        for _ in 0..20 {
            commit(|batch| {
                batch.add_table(Family::Inet, "others");
                let chain = crate::net::nft::Chain {
                    name: "c".to_owned(),
                    hook: None,
                };
                batch.add_chain(Family::Inet, "others", &chain);
                for _ in 0..200 {
                    batch.add_rule(Family::Inet, "others", "c", &rule);
                }
            });
        }
        settle(&mut guard, &mut now);
        assert!(firewall.verify(files.path()).unwrap());
        let socket = Socket::open().unwrap();
        let rules = read::rules(&socket, Family::Inet, "others", "c").unwrap();
        assert_eq!(rules.len(), 4000);
    });
}

#[test]
fn it_waits_while_another_builds() {
    in_new_namespace(|| {
        let files = filled();
        let (mut guard, firewall, now) = watching(&files);
        commit(|batch| batch.delete_table(Family::Inet, TABLE));
        assert!(wait(&guard, 10_000));
        guard.turn(now, true);
        let due = guard.deadline_ms().unwrap();
        let lock = File::open(files.path().join(".firewall")).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        guard.turn(due, false);
        let again = guard.deadline_ms().unwrap();
        assert_eq!(again, due + SETTLE_MS);
        drop(lock);
        guard.turn(again, false);
        assert!(firewall.verify(files.path()).unwrap());
    });
}

#[test]
fn without_a_directory_it_tries_again() {
    let mut guard = Guard::new("/nonexistent/networks".into(), TABLE.to_owned());
    let mut now = 0;
    for wait in [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 64_000] {
        guard.turn(now, false);
        assert_eq!(guard.deadline_ms(), Some(now + wait));
        // Too early: nothing happens.
        guard.turn(now, true);
        now += wait;
    }
    assert!(guard.fd().is_none());
}

/// A process that takes the lock, says so, and holds it until it is killed.
fn process(files: &Files) -> Child {
    use std::io::BufRead;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "net::guard::tests::holder",
            "--nocapture",
            "--quiet",
        ])
        .env("MINIDOCK_TEST_GUARD", files.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.lines();
    assert!(lines.any(|line| line.unwrap().contains("watching")));
    child
}

/// Not a test by itself: what [`process`] runs.
#[test]
fn holder() {
    let Some(networks) = std::env::var_os("MINIDOCK_TEST_GUARD") else {
        return;
    };
    let mut guard = Guard::new(networks.into(), TABLE.to_owned());
    guard.turn(0, false);
    assert!(guard.is_watching());
    println!("\nwatching");
    loop {
        std::thread::park();
    }
}

#[test]
fn the_next_one_takes_over() {
    let files = filled();
    let mut child = process(&files);
    in_new_namespace(|| {
        let mut guard = Guard::new(files.path().to_owned(), TABLE.to_owned());
        guard.turn(0, false);
        assert!(!guard.is_watching());
        // It waits without a deadline, and what wakes up others does not disturb it.
        assert_eq!(guard.deadline_ms(), None);
        assert!(!wait(&guard, 0));
        guard.turn(0, true);
        assert!(!guard.is_watching());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(wait(&guard, 10_000));
        guard.turn(5, true);
        assert!(guard.is_watching());
        assert_eq!(guard.deadline_ms(), Some(5 + SETTLE_MS));
        guard.turn(5 + SETTLE_MS, false);
        assert!(Firewall::new(TABLE).verify(files.path()).unwrap());
    });
}

#[test]
fn garbage_is_a_reason_to_look() {
    let received = |body| Received {
        kind: kind::NEW_RULE,
        flags: 0,
        sequence: 0,
        body,
    };
    let mut concerned = Look::No;
    let look = concerns(&received(&[]), TABLE, b"me", &mut concerned);
    assert_eq!(look, Look::Soon);
    let look = concerns(&received(&[1, 0, 0, 0]), TABLE, b"me", &mut concerned);
    assert_eq!((look, concerned), (Look::No, Look::Soon));
    let generation = |name: &[u8]| {
        let mut body = vec![0, 0, 0, 0];
        let length = u16::try_from(name.len() + 4).unwrap();
        body.extend(length.to_ne_bytes());
        body.extend(3u16.to_ne_bytes());
        body.extend(name);
        body
    };
    let tell = |name: &[u8], concerned: &mut Look| {
        let body = generation(name);
        let it = Received {
            kind: kind::NEW_GENERATION,
            flags: 0,
            sequence: 0,
            body: &body,
        };
        concerns(&it, TABLE, b"me", concerned)
    };
    // Ours, and then somebody's without anything that concerns us.
    assert_eq!(tell(b"me\0", &mut concerned), Look::No);
    assert_eq!(tell(b"nft\0", &mut concerned), Look::No);
    concerned = Look::Now;
    assert_eq!(tell(b"nft\0", &mut concerned), Look::Now);
}
