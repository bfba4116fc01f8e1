//! Watches over the firewall: what another program flushed or changed is repaired, with no engine about.
//!
//! Of the supervisors of a run root one watches, which has a lock; it is told by the kernel of every change of nf_tables. The
//! others wait for its end, and one of them is the next. None of them wakes up as long as nothing happens.
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Flock, FlockOffsetType, FlockType, PidfdFlags, fcntl_getlk, pidfd_open};

use super::firewall::Firewall;
use super::nft::message::{Received, messages};
use super::nft::{Socket, kind};
use crate::error::{Context, Kind, Result};

/// Changes come in numbers: so long after the first one it is looked at what they have done.
const SETTLE_MS: u64 = 200;
/// And so long it is not looked again, however much others change.
const PAUSE_MS: u64 = 1000;
/// After a failure; each further one doubles it.
const RETRY_MS: u64 = 1000;
/// How often it doubles at most.
const DOUBLINGS: u32 = 6;

/// Whether it is to be looked at what others did, and how soon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    #[default]
    No,
    Soon,
    /// The table is gone: this host resets connections to published ports until it is back.
    Now,
}

/// One supervisor's part in watching.
pub struct Guard {
    networks: PathBuf,
    firewall: Firewall,
    /// What this process and its like are called: their changes need no repair.
    name: Vec<u8>,
    part: Part,
    failures: u32,
}

enum Part {
    /// Nobody is known to watch; somebody has to try from then on.
    None { retry_at: u64 },
    /// Another process watches.
    Waiting { watcher: OwnedFd },
    /// This process watches. The lock is its own, not of a process that is forked from it.
    Watching {
        _lock: File,
        changes: Socket,
        /// The changes being told of concern us, as far as they have been read.
        concerned: Look,
        /// When it is to be looked at what others did.
        due: Option<u64>,
        /// Not before then.
        not_before: u64,
    },
}

impl Guard {
    /// Begins at the first [`Guard::turn`], which [`Guard::deadline_ms`] asks for. `networks` is that of the run root.
    #[must_use]
    pub fn new(networks: PathBuf, table: String) -> Self {
        let name = std::fs::read("/proc/self/comm").unwrap_or_default();
        Self {
            networks,
            firewall: Firewall::new(table),
            name: name.trim_ascii_end().to_vec(),
            part: Part::None { retry_at: 0 },
            failures: 0,
        }
    }

    /// What is to be polled for reading.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.part {
            Part::None { .. } => None,
            Part::Waiting { watcher } => Some(watcher.as_fd()),
            Part::Watching { changes, .. } => Some(changes.as_fd()),
        }
    }

    /// When [`Guard::turn`] is to be called at the latest, in milliseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.part {
            Part::None { retry_at } => Some(*retry_at),
            Part::Waiting { .. } => None,
            Part::Watching { due, .. } => *due,
        }
    }

    /// This process is the one that watches.
    #[cfg(test)]
    pub(crate) fn is_watching(&self) -> bool {
        matches!(self.part, Part::Watching { .. })
    }

    /// Does what there is to do, when the descriptor may be `ready` or the time has come. Fails never: it tries again.
    pub fn turn(&mut self, now_ms: u64, ready: bool) {
        match &mut self.part {
            Part::None { retry_at } if *retry_at <= now_ms => self.take_part(now_ms),
            Part::None { .. } => {}
            Part::Waiting { watcher } => {
                if ready && has_ended(watcher) {
                    self.take_part(now_ms);
                }
            }
            Part::Watching { due, .. } => {
                let come = due.is_some_and(|due| due <= now_ms);
                if ready {
                    self.listen(now_ms);
                }
                if come {
                    self.repair(now_ms);
                }
            }
        }
    }

    /// Ends it. Another process takes over when this one ends.
    pub fn end(self) {
        drop(self);
    }

    /// Watches, or waits for the one who does.
    fn take_part(&mut self, now_ms: u64) {
        self.part = match self.join(now_ms) {
            Ok(part) => {
                self.failures = 0;
                part
            }
            Err(_) => Part::None {
                retry_at: self.retry_at(now_ms),
            },
        };
    }

    fn retry_at(&mut self, now_ms: u64) -> u64 {
        let wait = RETRY_MS << self.failures.min(DOUBLINGS);
        self.failures += 1;
        now_ms + wait
    }

    fn join(&self, now_ms: u64) -> Result<Part> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.networks.join(".guard");
        let shown = || path.display().to_string();
        let mut options = File::options();
        let options = options.create(true).truncate(false).read(true).write(true);
        let lock = options.mode(0o600).open(&path).context("open", shown)?;
        loop {
            match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let mut changes = Socket::open()?;
                    changes.subscribe()?;
                    return Ok(Part::Watching {
                        _lock: lock,
                        changes,
                        concerned: Look::No,
                        // What was done while nobody watched.
                        due: Some(now_ms + SETTLE_MS),
                        not_before: 0,
                    });
                }
                Err(Errno::AGAIN | Errno::ACCESS) => {}
                Err(e) => return Err(e).context("lock", shown),
            }
            let holder = || fcntl_getlk(&lock, &whole()).context("look at lock", shown);
            // Gone since: the lock is free.
            let Some(held) = holder()? else {
                continue;
            };
            // None in another pid namespace, whose end cannot be waited for.
            let pid = held.pid.ok_or(Errno::SRCH).context("look at lock", shown)?;
            let watcher = match pidfd_open(pid, PidfdFlags::empty()) {
                Err(Errno::SRCH) => continue,
                other => other.context("open process", shown)?,
            };
            // The number may have become another's before it was opened, but not if it has the lock still.
            if holder()?.and_then(|held| held.pid) == Some(pid) {
                return Ok(Part::Waiting { watcher });
            }
        }
    }

    /// Reads what was changed.
    #[inline(never)] // its buffer is not to be part of the frame below which the loop waits
    fn listen(&mut self, now_ms: u64) {
        let Part::Watching {
            changes,
            concerned,
            due,
            not_before,
            ..
        } = &mut self.part
        else {
            return;
        };
        let mut buffer = [0; 16 * 1024];
        let mut look = Look::No;
        // A flood of changes must not keep the supervisor from its other work.
        for _ in 0..64 {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match recv(&*changes, &mut buffer[..], flags) {
                Ok((_, length)) if length > buffer.len() => look = look.max(Look::Soon),
                Ok((_, length)) => {
                    for received in messages(&buffer[..length]) {
                        let table = self.firewall.table();
                        let found = received
                            .map_or(Look::Soon, |it| concerns(&it, table, &self.name, concerned));
                        look = look.max(found);
                    }
                }
                Err(Errno::INTR) => {}
                // More was changed than there was room for.
                Err(Errno::NOBUFS) => look = look.max(Look::Soon),
                Err(_) => break,
            }
        }
        match look {
            Look::No => {}
            Look::Soon => {
                due.get_or_insert((now_ms + SETTLE_MS).max(*not_before));
            }
            // Somebody who does it again and again finds it there less often, but no connection waits for the pause's end.
            Look::Now => {
                *due = Some(
                    (*not_before + SETTLE_MS)
                        .saturating_sub(PAUSE_MS)
                        .max(now_ms),
                )
            }
        }
    }

    /// Makes the firewall what it is to be.
    fn repair(&mut self, now_ms: u64) {
        let next = match self.firewall.try_ensure(&self.networks) {
            Ok(_) => {
                self.failures = 0;
                None
            }
            // Somebody is at it.
            Err(e) if e.kind == Kind::Busy => Some(now_ms + SETTLE_MS),
            Err(_) => Some(self.retry_at(now_ms)),
        };
        if let Part::Watching {
            due, not_before, ..
        } = &mut self.part
        {
            *due = next;
            *not_before = now_ms + PAUSE_MS;
        }
    }
}

/// A lock on all of a file.
fn whole() -> Flock {
    Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    }
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// Whether it is to be looked at what somebody did, of whom and what messages tell. Those of one transaction end with a new
/// generation, which says who it was.
fn concerns(it: &Received<'_>, table: &str, own_name: &[u8], concerned: &mut Look) -> Look {
    let Some((_, body)) = it.parts() else {
        return Look::Soon;
    };
    let found = match it.kind {
        kind::NEW_GENERATION => {
            let name = body.get(3).unwrap_or_default();
            let name = name.split(|b| *b == 0).next().unwrap_or_default();
            let all = std::mem::take(concerned);
            return if name == own_name { Look::No } else { all };
        }
        kind::DEL_TABLE if body.text(1) == table => Look::Now,
        // Others' sets are theirs, but their chains may drop what is ours.
        kind::NEW_SET | kind::DEL_SET | kind::NEW_ELEMENT | kind::DEL_ELEMENT
            if body.text(1) != table =>
        {
            Look::No
        }
        kind::NEW_SET | kind::DEL_SET | kind::NEW_ELEMENT | kind::DEL_ELEMENT => Look::Soon,
        kind::NEW_TABLE | kind::DEL_TABLE | kind::NEW_CHAIN | kind::DEL_CHAIN => Look::Soon,
        kind::NEW_RULE | kind::DEL_RULE => Look::Soon,
        _ => Look::No,
    };
    *concerned = found.max(*concerned);
    Look::No
}

#[cfg(test)]
mod tests;
