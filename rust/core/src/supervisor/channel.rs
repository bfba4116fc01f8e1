//! The control socket: JSON packets from and to the supervisor.
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, recv, sendmsg,
    shutdown,
};
use serde::Deserialize;

use super::Interrupt;
use crate::error::{Error, Kind, Result};

/// The `op` of the error for a supervisor that ended without a word (killed, or crashed).
pub const GONE: &str = "hear from supervisor";

/// The longest packet (docs/supervisor.md).
const PACKET_MAX: usize = 64 * 1024;
/// Descriptors that one packet may carry.
const FDS_MAX: usize = 4;
/// Signals are looked for this often even when none interrupted the wait: one may have come just before it began.
const SLICE: Duration = Duration::from_secs(1);
/// How long a thread sleeps while another one reads the socket.
const TURN: Duration = Duration::from_millis(100);

/// What has been heard so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The `started` or `error` packet.
    pub first: Option<Vec<u8>>,
    /// Whether [`Heard::first`] is `error`.
    pub failed: bool,
    /// The `exited` packet.
    pub exited: Option<Vec<u8>>,
    /// The user has typed the detach keys.
    pub detached: bool,
    /// The `done` or `refused` packet of the last request.
    pub answer: Option<Vec<u8>>,
    /// Nothing more will come.
    pub closed: bool,
    reading: bool,
}

#[derive(Deserialize)]
struct Packet {
    event: String,
}

/// One end of the control socket. Several threads may wait at once: one of them reads, all see what was heard.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    bundle: String,
    heard: Mutex<Heard>,
    turn: Condvar,
}

impl Channel {
    pub fn new(socket: OwnedFd, bundle: String) -> Self {
        Self {
            socket,
            bundle,
            heard: Mutex::default(),
            turn: Condvar::new(),
        }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes every waiter; the supervisor sees its client go.
    pub fn shutdown(&self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Sends one packet. `Conflict`: the supervisor has ended.
    pub fn send(&self, packet: &serde_json::Value) -> Result<()> {
        self.send_with(packet, &[])
    }

    /// Sends one packet and descriptors. `Conflict`: the supervisor has ended; `Timeout`: it takes in no more.
    pub fn send_with(&self, packet: &serde_json::Value, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let text = packet.to_string();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        loop {
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
                let why = format!("more than {FDS_MAX} descriptors");
                let subject = self.bundle.clone();
                return Err(Error::new(
                    Kind::Invalid,
                    "send to supervisor",
                    subject,
                    why,
                ));
            }
            let data = [IoSlice::new(text.as_bytes())];
            return match sendmsg(&self.socket, &data, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(_) => Ok(()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Err(Error::new(
                    Kind::Timeout,
                    "send to supervisor",
                    self.bundle.clone(),
                    "the supervisor does not answer",
                )),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(Error::new(
                    Kind::Conflict,
                    "send to supervisor",
                    self.bundle.clone(),
                    "the container has ended",
                )),
                Err(e) => Err(Error::errno(
                    "send to supervisor",
                    self.bundle.clone(),
                    e.raw_os_error(),
                )),
            };
        }
    }

    /// Takes in all packets that have arrived; never blocks. `Corrupt` for a packet that makes no sense.
    pub fn receive(&self, heard: &mut Heard) -> Result<()> {
        let mut buffer = vec![0; PACKET_MAX];
        while !heard.closed {
            let length = match recv(&self.socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    heard.closed = true;
                    break;
                }
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => {
                    heard.closed = true;
                    break;
                }
                Err(e) => return Err(Error::errno(GONE, self.bundle.clone(), e.raw_os_error())),
            };
            self.take(heard, &buffer[..length])?;
        }
        Ok(())
    }

    fn take(&self, heard: &mut Heard, packet: &[u8]) -> Result<()> {
        let event = serde_json::from_slice::<Packet>(packet).map(|p| p.event);
        match event.as_deref() {
            Ok(name @ ("started" | "error")) if heard.first.is_none() => {
                heard.failed = name == "error";
                heard.first = Some(packet.to_vec());
            }
            // One that is started again may end several times: the first end is what was waited for.
            Ok("exited") => drop(heard.exited.get_or_insert_with(|| packet.to_vec())),
            Ok("detached") => heard.detached = true,
            Ok("done" | "refused") => heard.answer = Some(packet.to_vec()),
            _ => {
                let text: String = String::from_utf8_lossy(packet).chars().take(80).collect();
                return Err(Error::new(
                    Kind::Corrupt,
                    "read packet of supervisor",
                    self.bundle.clone(),
                    format!("unexpected {text:?}"),
                ));
            }
        }
        Ok(())
    }

    /// Waits until `found` finds something in what was heard.
    ///
    /// None when `deadline` passed. Fails with [`GONE`] when nothing more can come, and with `System(EINTR)` when
    /// `interrupt` said so.
    pub fn wait<T>(
        &self,
        deadline: Option<Instant>,
        interrupt: Interrupt<'_>,
        found: impl Fn(&Heard) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut heard = self.heard();
        loop {
            if let Some(value) = found(&heard) {
                return Ok(Some(value));
            }
            if heard.closed {
                return Err(self.gone(&heard));
            }
            let left = match deadline {
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => left.min(SLICE),
                    _ => return Ok(None),
                },
                None => SLICE,
            };
            if heard.reading {
                heard = self
                    .turn
                    .wait_timeout(heard, left.min(TURN))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                if interrupt() {
                    return Err(self.interrupted());
                }
                continue;
            }
            heard.reading = true;
            drop(heard);
            let ready = poll_one(&self.socket, left);
            heard = self.heard();
            heard.reading = false;
            self.turn.notify_all();
            match ready {
                Ok(true) => self.receive(&mut heard)?,
                Ok(false) | Err(Errno::INTR) => {
                    drop(heard);
                    if interrupt() {
                        return Err(self.interrupted());
                    }
                    heard = self.heard();
                }
                Err(e) => return Err(Error::errno(GONE, self.bundle.clone(), e.raw_os_error())),
            }
        }
    }

    /// Why nothing more will come.
    pub fn gone(&self, heard: &Heard) -> Error {
        if heard.failed {
            return Error::new(
                Kind::Conflict,
                "wait for container",
                self.bundle.clone(),
                "it did not start",
            );
        }
        Error::new(
            Kind::System(libc::ECHILD),
            GONE,
            self.bundle.clone(),
            "it ended without a word; it was killed or it crashed",
        )
    }

    pub fn interrupted(&self) -> Error {
        Error::errno("wait for container", self.bundle.clone(), libc::EINTR)
    }
}

fn poll_one(socket: &OwnedFd, timeout: Duration) -> rustix::io::Result<bool> {
    let timeout = timeout.try_into().map_err(|_| Errno::INVAL)?;
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout)).map(|n| n > 0)
}
