//! Who holds a port.
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use minidock_core::net::live::Protocol;

/// The search looks at every descriptor of every process, so it has an end.
const SEARCH: Duration = Duration::from_millis(300);

/// `nginx, process 1234`: a process that has a socket at this address, or one that takes it, too; None if none is found.
pub fn of(protocol: Protocol, address: SocketAddr) -> Option<String> {
    let tables = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
        Protocol::Sctp => return None,
    };
    // The thread's, which is the same as the process's but in tests.
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok())
        .flat_map(|text| inodes(&text, protocol, address))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let until = Instant::now() + SEARCH;
    let entries = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    for entry in entries {
        if Instant::now() > until {
            return None;
        }
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
            continue;
        };
        if has_one_of(pid, &inodes) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("{}, process {pid}", name.trim_end()));
        }
    }
    None
}

/// The inodes of sockets in a table of the kernel's that keep others from this address.
fn inodes(table: &str, protocol: Protocol, address: SocketAddr) -> Vec<String> {
    let matches = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let held = parse(fields.nth(1)?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let listens = protocol != Protocol::Tcp || state == "0A";
        let (held_ip, ip) = (held.ip(), address.ip());
        let any = held_ip.is_unspecified() || ip.is_unspecified();
        let same = any || held_ip.to_canonical() == ip;
        (listens && same && held.port() == address.port()).then(|| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter_map(matches).collect()
}

/// `0100007F:1F90`: words of the host's byte order.
fn parse(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    };
    let ip = if ip.len() == 8 {
        IpAddr::from(Ipv4Addr::from(word(0)?))
    } else {
        let mut bytes = [0; 16];
        for (at, to) in bytes.chunks_exact_mut(4).enumerate() {
            to.copy_from_slice(&word(at)?);
        }
        IpAddr::from(Ipv6Addr::from(bytes))
    };
    Some(SocketAddr::new(ip, port))
}

fn has_one_of(pid: &str, inodes: &[String]) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| {
            inodes
                .iter()
                .any(|inode| link.as_os_str() == inode.as_str())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_kernel() {
        let parsed = parse("0100007F:1F90");
        assert_eq!(parsed, Some("127.0.0.1:8080".parse().unwrap()));
        let parsed = parse("00000000000000000000000001000000:0016");
        assert_eq!(parsed, Some("[::1]:22".parse().unwrap()));
        for wrong in ["", ":", "01:1F90", "0100007F:1F90F", "zz00007F:1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
