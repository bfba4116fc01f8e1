//! The socket: commits batches, asks for one object, lists many.
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::message::{
    self, ACK, Attributes, DONE, DUMP, INTERRUPTED, REQUEST, Reader, Received, messages,
};
use super::{Batch, Family, kind};
use crate::error::{Context, Error, Kind, Result};

/// A batch that is not longer than this fits into the send buffer that every socket has.
const SMALL: usize = 64 * 1024;
/// What the kernel gives at most in one datagram of a list.
const LARGEST: usize = 32 * 1024;
/// How often a list is begun anew because it changed while it was read.
const TRIES: u32 = 20;

/// Sequence numbers from here on are of questions; those of batches count from 0.
const QUESTIONS: u32 = 1 << 31;

/// A message of a batch that the kernel did not want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Its number, as of [`Batch::next`].
    pub message: u32,
    /// Why.
    pub errno: i32,
}

/// A socket to nf_tables of the network namespace that it was opened in.
///
/// The kernel, when it is closed, waits until all that was deleted is freed, some 10 ms, and lets nobody else change anything
/// meanwhile. It is therefore better kept than opened for each change, and not closed right after a deletion.
pub struct Socket {
    socket: netlink_sys::Socket,
    /// Of the last question.
    sequence: Cell<u32>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What failed, and what is missing for it.
#[must_use]
pub fn error(op: &'static str, subject: &str, errno: i32) -> Error {
    let why = match errno {
        libc::EPERM | libc::EACCES => "this needs CAP_NET_ADMIN",
        libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT => {
            "the kernel's nf_tables is missing or incomplete: it needs CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, \
             CONFIG_NFT_MASQ, CONFIG_NFT_CT and CONFIG_NFT_FIB_INET; without it there are --network none and --network host"
        }
        _ => return Error::errno(op, subject, errno),
    };
    let mut error = Error::new(Kind::from_errno(errno), op, subject, why);
    error.errno = Some(errno);
    if errno == libc::EPROTONOSUPPORT || errno == libc::EAFNOSUPPORT {
        error.kind = Kind::Unsupported;
    }
    error
}

impl Socket {
    /// Opens it. Fails with `Unsupported` if the kernel has no netfilter.
    pub fn open() -> Result<Self> {
        let failed = |e: std::io::Error| {
            let errno = e.raw_os_error().unwrap_or(libc::EIO);
            error("open netlink socket", "", errno)
        };
        let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        // Errors without the message that they are about: there may be as many as the batch has messages.
        socket.set_cap_ack(true).map_err(failed)?;
        Ok(Self {
            socket,
            sequence: Cell::new(QUESTIONS),
        })
    }

    /// Subscribes to what changes in nf_tables, `NFNLGRP_NFTABLES`.
    pub fn subscribe(&mut self) -> Result<()> {
        let joined = self.socket.add_membership(7);
        joined.context("subscribe to changes of nf_tables", String::new)
    }

    fn send(&self, bytes: &[u8]) -> rustix::io::Result<()> {
        if bytes.len() > SMALL {
            // The kernel accounts for a datagram with more than its length. Without the right to force it, it is tried as is.
            let _ = setsockopt(&self.socket, sockopt::SndBufForce, &(bytes.len() * 2));
            let _ = setsockopt(&self.socket, sockopt::RcvBufForce, &(bytes.len() * 8));
        }
        loop {
            match send(&self.socket, bytes, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// Commits a batch, wholly or not at all; gives what the kernel refused, and nothing when it was committed.
    pub fn commit(&self, batch: Batch) -> Result<Vec<Refusal>> {
        let failed = |e: Errno| error("change firewall", "", e.raw_os_error());
        self.send(&batch.finish()).map_err(failed)?;
        // The kernel works while it is sent to: all that it has to say is there now.
        let mut refused = Vec::new();
        let mut overrun = false;
        let mut buffer = [0; 4096];
        loop {
            let length = match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => length,
                Err(Errno::AGAIN) if overrun && refused.is_empty() => {
                    return Err(failed(Errno::NOBUFS));
                }
                Err(Errno::AGAIN) => return Ok(refused),
                Err(Errno::INTR) => continue,
                // More errors than room for them: those that were read are enough to fail with.
                Err(Errno::NOBUFS) if !overrun => {
                    overrun = true;
                    continue;
                }
                Err(e) => return Err(failed(e)),
            };
            for received in messages(&buffer[..length]) {
                let Some(received) = received else {
                    return Err(malformed());
                };
                let ours = received.sequence < QUESTIONS;
                if ours && received.kind == message::ERROR && received.errno() != 0 {
                    refused.push(Refusal {
                        message: received.sequence,
                        errno: received.errno(),
                    });
                }
            }
        }
    }

    /// Lists objects of a kind; `each` sees the kernel's messages. Begins anew, after `restart`, when they change meanwhile.
    pub fn list(
        &self,
        kind: u16,
        family: Option<Family>,
        fill: impl Fn(&mut Attributes<'_>),
        restart: &mut dyn FnMut(),
        each: &mut dyn FnMut(u8, Reader<'_>),
    ) -> Result<()> {
        for _ in 0..TRIES {
            restart();
            if self.ask(kind, DUMP, family, &fill, &mut |family, body| {
                each(family, body);
            })? {
                return Ok(());
            }
        }
        let why = "it changes all the time";
        Err(Error::new(Kind::Busy, "list firewall", "", why))
    }

    /// One object; none if it does not exist.
    pub fn get(
        &self,
        kind: u16,
        family: Family,
        fill: impl Fn(&mut Attributes<'_>),
        each: &mut dyn FnMut(u8, Reader<'_>),
    ) -> Result<bool> {
        match self.ask(kind, ACK, Some(family), &fill, each) {
            Ok(_) => Ok(true),
            Err(e) if e.kind == Kind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The number of the last change of anything in nf_tables, for [`Batch::new`].
    pub fn generation(&self) -> Result<u32> {
        let mut found = None;
        self.ask(kind::GET_GENERATION, ACK, None, &|_| {}, &mut |_, body| {
            found = body.number(1);
        })?;
        found.ok_or_else(malformed)
    }

    /// Sends a request and reads until its end; false if what was listed has changed meanwhile.
    fn ask(
        &self,
        kind: u16,
        flags: u16,
        family: Option<Family>,
        fill: &dyn Fn(&mut Attributes<'_>),
        each: &mut dyn FnMut(u8, Reader<'_>),
    ) -> Result<bool> {
        let failed = |errno: i32| error("look at firewall", "", errno);
        let mut request = Vec::new();
        let fixed = [family.map_or(0, |f| f as u8), 0, 0, 0];
        let sequence = self.sequence.get().wrapping_add(1) | QUESTIONS;
        self.sequence.set(sequence);
        let flags = REQUEST | flags;
        message::message(&mut request, kind, flags, sequence, &fixed, |a| fill(a));
        self.send(&request).map_err(|e| failed(e.raw_os_error()))?;
        let mut buffer = vec![0; LARGEST];
        let mut steady = true;
        loop {
            let length = match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => length,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(failed(e.raw_os_error())),
            };
            for received in messages(&buffer[..length]) {
                let received: Received<'_> = received.ok_or_else(malformed)?;
                // Left over from a question that failed.
                if received.sequence != sequence {
                    continue;
                }
                steady &= received.flags & INTERRUPTED == 0;
                match received.kind {
                    message::DONE | message::ERROR => {
                        // A list that ends has a number there as well, and 0 but for errors.
                        let done = received.kind == DONE && received.body.len() < 4;
                        match received.errno() {
                            0 => return Ok(steady),
                            _ if done => return Ok(steady),
                            // EINTR: said by nf_tables for what changes while it is listed.
                            libc::EINTR => return Ok(false),
                            errno => return Err(failed(errno)),
                        }
                    }
                    _ => {
                        let (family, body) = received.parts().ok_or_else(malformed)?;
                        each(family, body);
                    }
                }
            }
        }
    }
}

fn malformed() -> Error {
    let why = "the kernel's answer is malformed";
    Error::new(Kind::Corrupt, "look at firewall", "", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        for (errno, kind, said) in [
            (libc::EPERM, Kind::Denied, "CAP_NET_ADMIN"),
            (libc::EOPNOTSUPP, Kind::Unsupported, "CONFIG_NFT_NAT"),
            (libc::EPROTONOSUPPORT, Kind::Unsupported, "CONFIG_NF_TABLES"),
            (
                libc::EAFNOSUPPORT,
                Kind::Unsupported,
                "CONFIG_NF_TABLES_INET",
            ),
            (libc::ENOENT, Kind::NotFound, "no such file"),
            (libc::EEXIST, Kind::Conflict, "file exists"),
            (libc::EBUSY, Kind::Busy, "busy"),
        ] {
            let error = error("make firewall", "t", errno);
            assert_eq!(error.kind, kind);
            assert_eq!(error.errno, Some(errno));
            let text = error.to_string();
            assert!(
                text.starts_with("make firewall t: ") && text.contains(said),
                "{text}"
            );
        }
    }

    /// Questions that are not answered as asked leave nothing behind for the next.
    #[test]
    fn refusals() {
        crate::net::in_new_namespace(|| {
            let socket = Socket::open().unwrap();
            let family = Family::Inet;
            let mut batch = Batch::new(None);
            batch.delete_table(family, "a");
            batch.add_table(family, "b");
            batch.delete_rules(family, "b", "c", None);
            let refused = socket.commit(batch).unwrap();
            let expected = [(1, libc::ENOENT), (3, libc::ENOENT)];
            assert!(
                refused
                    .into_iter()
                    .map(|r| (r.message, r.errno))
                    .eq(expected)
            );
            let missing = socket.list(
                kind::GET_ELEMENT,
                Some(family),
                |a| {
                    a.text(1, "b");
                    a.text(2, "c");
                },
                &mut || {},
                &mut |_, _| {},
            );
            assert_eq!(missing.unwrap_err().kind, Kind::NotFound);
            let generation = socket.generation().unwrap();
            let add = |generation| {
                let mut batch = Batch::new(Some(generation));
                batch.add_table(family, "b");
                socket.commit(batch).unwrap()
            };
            assert_eq!(add(generation), []);
            // It has changed meanwhile.
            let refused = add(generation);
            assert_eq!(refused[0].errno, libc::ERESTART);
            assert_eq!(add(socket.generation().unwrap()), []);
        });
    }

    /// Larger than the send buffer that a socket has.
    #[test]
    fn large_batches() {
        crate::net::in_new_namespace(|| {
            let socket = Socket::open().unwrap();
            let mut batch = Batch::new(None);
            for number in 0..4000 {
                batch.add_table(Family::Inet, &format!("t{number}"));
                batch.delete_table(Family::Inet, &format!("t{number}"));
            }
            assert_eq!(socket.commit(batch).unwrap(), []);
            let mut batch = Batch::new(None);
            for _ in 0..4000 {
                batch.delete_table(Family::Inet, "missing");
            }
            assert!(!socket.commit(batch).unwrap().is_empty());
            assert!(socket.generation().is_ok());
        });
    }
}
