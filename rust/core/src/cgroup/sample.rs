//! One look at many containers: what their groups have used, and what went over their networks.
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::CWD;
use serde::Serialize;

use super::stats::Stats;
use super::{Cgroup, Hierarchies, file};
use crate::{Context, Kind, Result};

/// What the kernel counts CPU time in, for programs (`USER_HZ`); it is 100 everywhere.
const TICK_NS: u64 = 1_000_000_000 / 100;

/// One look.
#[derive(Debug, Serialize)]
pub struct Look {
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The host.
    pub host: Host,
    /// One for each container that was asked for; None for a group that is gone.
    pub samples: Vec<Option<Sample>>,
}

/// What a container's numbers are compared with.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// CPU time that has passed on all CPUs together, idle time included, in nanoseconds.
    pub cpu_ns: u64,
    /// CPUs that are online.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory: u64,
}

/// One container.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// Its group.
    #[serde(flatten)]
    pub stats: Stats,
    /// Its network interfaces without `lo`; None when nobody asked, or its process is gone.
    pub networks: Option<Vec<Interface>>,
}

/// What went over one network interface.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name in the container.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets that came damaged.
    pub rx_errors: u64,
    /// Packets that came and had no room.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets that were not sent for want of room.
    pub tx_dropped: u64,
}

/// Looks at groups, by path, and at the network of the process that belongs to each (0: at no network).
///
/// # Errors
/// `unsupported` without any cgroup file system; `invalid` for a path that leaves the tree; those of /proc.
pub fn look(groups: &[(String, u32)]) -> Result<Look> {
    let hierarchies = Hierarchies::detect()?;
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let host = host()?;
    let samples = groups
        .iter()
        .map(|(path, pid)| match Cgroup::open(&hierarchies, path) {
            Ok(group) => Ok(Some(Sample {
                stats: group.stats(),
                networks: (*pid != 0).then(|| interfaces(*pid)).flatten(),
            })),
            Err(e) if e.kind == Kind::NotFound => Ok(None),
            Err(e) => Err(e),
        })
        .collect::<Result<_>>()?;
    Ok(Look {
        time_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        host,
        samples,
    })
}

fn host() -> Result<Host> {
    let read = |path| file::read(CWD, path).context("read", || path);
    let (cpu_ns, cpus) = parse_cpus(&read("/proc/stat")?);
    Ok(Host {
        cpu_ns,
        cpus,
        memory: parse_memory(&read("/proc/meminfo")?),
    })
}

/// The sum of the first seven columns (user to softirq: what a guest uses is in user already), and the lines of CPUs.
fn parse_cpus(text: &str) -> (u64, u32) {
    let ticks = text.lines().next().map_or(0, |line| {
        line.split_ascii_whitespace()
            .skip(1)
            .take(7)
            .filter_map(|n| n.parse::<u64>().ok())
            .sum()
    });
    let cpus = text
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("cpu"))
        .count();
    (
        ticks.saturating_mul(TICK_NS),
        u32::try_from(cpus).unwrap_or(u32::MAX),
    )
}

fn parse_memory(text: &str) -> u64 {
    let total = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

fn interfaces(pid: u32) -> Option<Vec<Interface>> {
    let text = file::read(CWD, format!("/proc/{pid}/net/dev")).ok()?;
    Some(parse_interfaces(&text))
}

/// `  eth0: 1182 13 0 0 0 0 0 0 126 3 0 0 0 0 0 0` after two lines of heads; proc_pid_net(5).
fn parse_interfaces(text: &str) -> Vec<Interface> {
    text.lines()
        .skip(2)
        .filter_map(|line| line.rsplit_once(':'))
        .filter_map(|(name, rest)| {
            let numbers: Vec<u64> = rest
                .split_ascii_whitespace()
                .map_while(|n| n.parse().ok())
                .collect();
            let name = name.trim();
            (numbers.len() >= 12 && name != "lo").then(|| Interface {
                name: name.to_owned(),
                rx_bytes: numbers[0],
                rx_packets: numbers[1],
                rx_errors: numbers[2],
                rx_dropped: numbers[3],
                tx_bytes: numbers[8],
                tx_packets: numbers[9],
                tx_errors: numbers[10],
                tx_dropped: numbers[11],
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cpus_and_memory() {
        let text =
            "cpu  1 2 3 4 5 6 7 800 900 1000\ncpu0 1 1 1 1\ncpu1 0 1 2 3\nintr 5 cpu\ncpu9 1\n";
        assert_eq!(parse_cpus(text), (28 * TICK_NS, 2));
        assert_eq!(parse_cpus(""), (0, 0));
        assert_eq!(parse_memory("MemTotal:  24 kB\nMemFree: 1 kB\n"), 24 << 10);
        assert_eq!(parse_memory("MemTotal: many"), 0);
    }

    #[test]
    fn networks() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                    eth0: 1182 13 1 2 0 0 0 0 126 3 4 5 0 0 0 0\n a:b:9 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n";
        let found = parse_interfaces(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Interface {
                name: "eth0".into(),
                rx_bytes: 1182,
                rx_packets: 13,
                rx_errors: 1,
                rx_dropped: 2,
                tx_bytes: 126,
                tx_packets: 3,
                tx_errors: 4,
                tx_dropped: 5,
            }
        );
        assert_eq!((found[1].name.as_str(), found[1].rx_bytes), ("a:b", 9));
    }

    #[test]
    fn this_host() {
        let found = look(&[("minidock-test-nosuch".into(), 0)]).unwrap();
        assert!(found.host.cpu_ns > 0 && found.host.cpus > 0 && found.host.memory > 1 << 20);
        assert!(found.samples.len() == 1 && found.samples[0].is_none());
        assert!(look(&[("../x".into(), 0)]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "[a-z0-9:= \n.-]{0,200}") {
            parse_cpus(&text);
            parse_memory(&text);
            prop_assert!(parse_interfaces(&text).len() <= text.lines().count());
        }
    }
}
