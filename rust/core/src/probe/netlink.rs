//! As much of netlink as the checks need: requests and their acknowledgement; netlink(7).
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::Step;
pub use crate::net::nft::message::{ACK, CREATE, EXCL, REQUEST};
use crate::net::nft::message::{Attributes, ERROR, message, messages as messages_of};

/// One message in the making.
pub struct Message {
    kind: u16,
    flags: u16,
    fixed: Vec<u8>,
    attributes: Vec<u8>,
}

impl Message {
    /// A message of a kind with flags and its fixed part.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        Self {
            kind,
            flags,
            fixed: fixed.to_vec(),
            attributes: Vec::new(),
        }
    }

    /// Adds an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        Attributes(&mut self.attributes).put(kind, value);
        self
    }

    /// Adds an attribute made of attributes.
    pub fn nested(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let inner = fill(Self::new(0, 0, &[])).attributes;
        self.attribute(kind, &inner)
    }
}

/// A socket of one netlink family.
pub struct Socket(OwnedFd);

impl Socket {
    pub fn open(protocol: SockProtocol) -> Result<Self, String> {
        socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )
        .step("socket")
        .map(Self)
    }

    /// Sends messages as one datagram; the kernel's answer to those with [`ACK`] is awaited.
    pub fn request(&self, messages: Vec<Message>) -> Result<(), String> {
        let mut left = messages.iter().filter(|m| m.flags & ACK != 0).count();
        let mut batch = Vec::new();
        for (m, sequence) in messages.into_iter().zip(1..) {
            message(&mut batch, m.kind, m.flags, sequence, &m.fixed, |a| {
                a.0.extend(m.attributes);
            });
        }
        sendto(
            self.0.as_raw_fd(),
            &batch,
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )
        .step("sendto")?;
        let mut buffer = vec![0; 16 * 1024];
        while left > 0 {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).step("recv")?;
            for received in messages_of(&buffer[..length]) {
                let received = received.ok_or("netlink: malformed answer")?;
                if received.kind == ERROR {
                    let errno = received.errno();
                    if errno != 0 {
                        let errno = rustix::io::Errno::from_raw_os_error(errno);
                        return Err(super::text("netlink", errno));
                    }
                    left = left.saturating_sub(1);
                }
            }
        }
        Ok(())
    }
}
