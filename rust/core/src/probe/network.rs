//! Interfaces and packet filter of a network namespace of its own.
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::SockProtocol;

use super::netlink::{ACK, CREATE, EXCL, Message, REQUEST, Socket};
use super::{Context, Report, Status, Step, read, warn};

const RTM_NEWLINK: u16 = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;

/// `struct ifinfomsg`: everything 0 but index, flags and change mask.
fn interface(index: i32, flags: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(index.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes
}

/// A request to make an interface.
fn link(name: &str, kind: &str, more: impl FnOnce(Message) -> Message) -> Message {
    let message = Message::new(RTM_NEWLINK, REQUEST | ACK | CREATE | EXCL, &interface(0, 0));
    let message = message.attribute(IFLA_IFNAME, format!("{name}\0").as_bytes());
    more(message.nested(IFLA_LINKINFO, |m| {
        let m = m.attribute(IFLA_INFO_KIND, format!("{kind}\0").as_bytes());
        if kind != "veth" {
            return m;
        }
        m.nested(IFLA_INFO_DATA, |m| {
            let mut peer = interface(0, 0);
            peer.extend(8u16.to_ne_bytes());
            peer.extend(IFLA_IFNAME.to_ne_bytes());
            peer.extend(b"p0\0\0");
            m.attribute(VETH_INFO_PEER, &peer)
        })
    }))
}

pub(super) fn check(_: &Context, report: &mut Report) {
    forwarding(report);
    if let Err(found) = unshare(CloneFlags::CLONE_NEWNET).step("unshare") {
        return report.add(
            "network namespace",
            Status::Fail,
            found,
            "containers cannot have a network of their own",
            "run as root; kernel option CONFIG_NET_NS",
        );
    }
    let route = match Socket::open(SockProtocol::NetlinkRoute) {
        Ok(route) => route,
        Err(found) => {
            return report.add(
                "netlink",
                Status::Fail,
                found,
                "no network can be set up",
                "an outer seccomp filter must allow netlink sockets",
            );
        }
    };
    let up = Message::new(RTM_NEWLINK, REQUEST | ACK, &interface(1, IFF_UP));
    let blame = super::fail("containers have no working localhost", "CAP_NET_ADMIN");
    report.tried(
        "loopback",
        route
            .request(vec![up])
            .map(|()| "can be brought up".to_owned()),
        &blame,
    );
    for (kind, option, meaning) in [
        (
            "veth",
            "CONFIG_VETH",
            "containers can have the networks none and host only",
        ),
        (
            "bridge",
            "CONFIG_BRIDGE",
            "containers can have the networks none and host only",
        ),
        (
            "macvlan",
            "CONFIG_MACVLAN",
            "macvlan networks are not possible",
        ),
        (
            "ipvlan",
            "CONFIG_IPVLAN",
            "ipvlan networks are not possible",
        ),
        (
            "vxlan",
            "CONFIG_VXLAN",
            "overlay networks between hosts are not possible",
        ),
        (
            "dummy",
            "CONFIG_DUMMY",
            "internal macvlan networks are not possible",
        ),
    ] {
        // One of the two on each, as no interface carries both.
        let lower = match kind {
            "macvlan" => if_nametoindex("tveth").ok(),
            "ipvlan" => if_nametoindex("tbridge").ok(),
            _ => None,
        };
        let message = link(&format!("t{kind}"), kind, |m| match lower {
            Some(index) => m.attribute(IFLA_LINK, &index.to_ne_bytes()),
            None => m,
        });
        let message = if kind == "vxlan" { vxlan() } else { message };
        match route.request(vec![message]) {
            Ok(()) => report.ok(kind, "can be made"),
            Err(found) => report.add(
                kind,
                Status::Warn,
                found,
                meaning,
                &format!("kernel option {option}, or modprobe {kind}"),
            ),
        }
    }
    nftables(report);
}

/// A vxlan needs its id (`IFLA_VXLAN_ID`).
fn vxlan() -> Message {
    let message = Message::new(RTM_NEWLINK, REQUEST | ACK | CREATE | EXCL, &interface(0, 0));
    message
        .attribute(IFLA_IFNAME, b"tvxlan\0")
        .nested(IFLA_LINKINFO, |m| {
            let m = m.attribute(IFLA_INFO_KIND, b"vxlan\0");
            m.nested(IFLA_INFO_DATA, |m| {
                m.attribute(1, &42u32.to_ne_bytes())
                    .attribute(15, &4789u16.to_be_bytes())
            })
        })
}

fn forwarding(report: &mut Report) {
    match read("/proc/sys/net/ipv4/ip_forward").as_deref() {
        Some("1") => report.ok("net.ipv4.ip_forward", "1"),
        Some(other) => {
            let meaning = "containers on a bridge reach the host only, until a bridge network is made (which sets it)";
            report.add("net.ipv4.ip_forward", Status::Ok, other, meaning, "");
        }
        None => {}
    }
    if read("/proc/sys/net/ipv6/conf/all/disable_ipv6").is_none_or(|t| t == "1") {
        report.add(
            "IPv6",
            Status::Warn,
            "off on this host",
            "containers have IPv4 only, and networks with --ipv6 are refused where the kernel has none",
            "boot without ipv6.disable=1, and set net.ipv6.conf.all.disable_ipv6 to 0",
        );
    } else {
        report.ok("IPv6", "on");
    }
}

/// Makes a table, a NAT chain and a filter chain in one batch; nf_tables of nfnetlink.
fn nftables(report: &mut Report) {
    const BATCH_BEGIN: u16 = 0x10;
    const BATCH_END: u16 = 0x11;
    const SUBSYSTEM: u16 = 10;
    const NEWTABLE: u16 = SUBSYSTEM << 8;
    const NEWCHAIN: u16 = (SUBSYSTEM << 8) | 3;
    let batch = |kind| {
        // struct nfgenmsg: family, version, the subsystem in network order.
        let [high, low] = SUBSYSTEM.to_be_bytes();
        Message::new(kind, REQUEST, &[0, 0, high, low])
    };
    for (name, family, option, meaning) in [
        (
            "nftables for IPv4",
            2u8,
            "CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV4 and CONFIG_NFT_NAT",
            "bridge networks, published ports and NAT are not possible",
        ),
        (
            "nftables for IPv6",
            10,
            "CONFIG_NF_TABLES_IPV6",
            "IPv6 on bridge networks is not possible",
        ),
        (
            "nftables for both",
            1,
            "CONFIG_NF_TABLES_INET",
            "bridge networks, published ports and NAT are not possible",
        ),
    ] {
        let fixed = [family, 0, 0, 0];
        let chain = |chain: &str, kind: &str, hook: u32, priority: i32| {
            Message::new(NEWCHAIN, REQUEST | ACK | CREATE, &fixed)
                .attribute(1, b"minidock\0")
                .attribute(3, format!("{chain}\0").as_bytes())
                .nested(4 | 0x8000, |m| {
                    m.attribute(1, &hook.to_be_bytes())
                        .attribute(2, &priority.to_be_bytes())
                })
                .attribute(7, format!("{kind}\0").as_bytes())
        };
        let table =
            Message::new(NEWTABLE, REQUEST | ACK | CREATE, &fixed).attribute(1, b"minidock\0");
        let outcome = Socket::open(SockProtocol::NetlinkNetFilter).and_then(|socket| {
            socket.request(vec![
                batch(BATCH_BEGIN),
                table,
                chain("nat", "nat", 4, 100),
                chain("filter", "filter", 2, 0),
                batch(BATCH_END),
            ])
        });
        match outcome {
            Ok(()) => report.ok(name, "tables and chains can be made"),
            Err(found) => {
                let advice = format!("kernel options {option}, or modprobe nf_tables");
                let blame = warn(meaning, "");
                report.add(name, blame.status, found, blame.meaning, &advice);
            }
        }
    }
}
