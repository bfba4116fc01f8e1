//! Interfaces, addresses and routes by rtnetlink(7), synchronously, in the network namespace that the socket was made in.
mod address;
mod link;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo};
use netlink_sys::{Socket as Raw, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};

pub use address::{add_address, default_route};
pub use link::{
    delete, delete_group, join_bridge, new_bridge, new_child, new_veth, new_vlan, set_group,
    set_port, up,
};

/// The largest name that an interface can have, in bytes.
pub const NAME_MAX: usize = 15;

/// A netlink socket in the network namespace where it was opened, wherever its owner is later.
pub struct Socket {
    raw: Raw,
    sequence: u32,
}

/// One request, and what to call it in an error.
pub struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
    op: &'static str,
    subject: String,
}

impl Socket {
    /// Opens one in the current namespace.
    pub fn open() -> Result<Self> {
        let made = Raw::new(NETLINK_ROUTE).and_then(|mut raw| raw.bind_auto().map(|_| raw));
        Ok(Self {
            raw: made.context("open netlink socket", String::new)?,
            sequence: 0,
        })
    }

    /// Carries out requests in order, each acknowledged; stops at the first that fails.
    pub fn run(&mut self, requests: impl IntoIterator<Item = Request>) -> Result<()> {
        requests
            .into_iter()
            .try_for_each(|request| self.one(request))
    }

    /// Carries out one request.
    pub fn one(&mut self, request: Request) -> Result<()> {
        let (op, subject) = (request.op, request.subject.clone());
        self.send(request)?;
        loop {
            for answer in self.receive(op, &subject)? {
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                if let NetlinkPayload::Error(error) = answer.payload {
                    return match error.code {
                        None => Ok(()),
                        Some(code) => {
                            let errno = Errno::from_raw_os_error(-code.get());
                            Err(errno).context(op, || subject)
                        }
                    };
                }
            }
        }
    }

    fn send(&mut self, request: Request) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request.message);
        message.header.flags = NLM_F_REQUEST | request.flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let sent = self.raw.send_to(&bytes, &SocketAddr::new(0, 0), 0);
        sent.map(drop).context(request.op, || request.subject)
    }

    fn receive(
        &self,
        op: &'static str,
        subject: &str,
    ) -> Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (bytes, _) = self.raw.recv_from_full().context(op, || subject)?;
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            if length < 16 || length > rest.len() {
                return Err(Error::new(
                    Kind::Corrupt,
                    op,
                    subject,
                    "malformed netlink answer",
                ));
            }
            // What this version of the library cannot read is none of the answers that are looked for.
            if let Ok(message) = NetlinkMessage::deserialize(&rest[..length]) {
                found.push(message);
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(found)
    }

    /// Whether there is a bridge of this name.
    pub fn is_bridge(&mut self, name: &str) -> Result<bool> {
        self.send(Request {
            message: RouteNetlinkMessage::GetLink(link::named(name)),
            flags: 0,
            op: "find interface",
            subject: name.to_owned(),
        })?;
        let kind = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::LinkInfo(info) if info.contains(&LinkInfo::Kind(InfoKind::Bridge)));
        let answers = self.receive("find interface", name)?;
        Ok(answers.iter().any(|answer| match &answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(found)) => {
                answer.header.sequence_number == self.sequence && found.attributes.iter().any(kind)
            }
            _ => false,
        }))
    }
}

/// Whether the kernel has IPv6: it can be booted without (`ipv6.disable=1`).
pub fn has_ipv6() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").exists()
}

/// The index of an interface of the current namespace.
#[must_use]
pub fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}
