//! As much of netlink as the checks need: requests and their acknowledgement; netlink(7).
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::Step;

/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_EXCL`, `NLM_F_CREATE`.
pub const REQUEST: u16 = 0x1;
pub const ACK: u16 = 0x4;
pub const EXCL: u16 = 0x200;
pub const CREATE: u16 = 0x400;

/// One message in the making.
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of a kind with flags and its fixed part.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        Self { bytes }
    }

    /// Adds an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        // Attributes here are names and numbers; 16 bits hold their lengths.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute made of attributes.
    pub fn nested(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let inner = fill(Self { bytes: Vec::new() }).bytes;
        self.attribute(kind, &inner)
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
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
        let acks = messages
            .iter()
            .filter(|m| u16::from_ne_bytes([m.bytes[6], m.bytes[7]]) & ACK != 0)
            .count();
        let batch: Vec<u8> = messages
            .into_iter()
            .zip(1..)
            .flat_map(|(m, n)| m.finish(n))
            .collect();
        sendto(
            self.0.as_raw_fd(),
            &batch,
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )
        .step("sendto")?;
        let mut buffer = vec![0; 16 * 1024];
        let mut left = acks;
        while left > 0 {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).step("recv")?;
            let mut at = 0;
            while at + 16 <= length {
                let word = |from: usize| -> [u8; 4] {
                    buffer
                        .get(from..from + 4)
                        .and_then(|b| b.try_into().ok())
                        .unwrap_or_default()
                };
                let size = u32::from_ne_bytes(word(at)) as usize;
                let kind = u16::from_ne_bytes([buffer[at + 4], buffer[at + 5]]);
                // NLMSG_ERROR: an errno, negative; 0 is the acknowledgement.
                if kind == 2 {
                    let error = i32::from_ne_bytes(word(at + 16));
                    if error != 0 {
                        return Err(super::text(
                            "netlink",
                            rustix::io::Errno::from_raw_os_error(-error),
                        ));
                    }
                    left = left.saturating_sub(1);
                }
                if size < 16 {
                    return Err("netlink: malformed answer".to_owned());
                }
                at += size.next_multiple_of(4);
            }
        }
        Ok(())
    }
}
