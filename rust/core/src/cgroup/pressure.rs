//! How long a group's tasks waited for CPU, memory and disks; Documentation/accounting/psi.rst.
use std::os::fd::BorrowedFd;

use serde::Serialize;

use super::file;

/// Pressure by resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressures {
    /// CPU.
    pub cpu: Option<Pressure>,
    /// Memory.
    pub memory: Option<Pressure>,
    /// I/O.
    pub io: Option<Pressure>,
}

/// Time lost to one resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Some task waited.
    pub some: Stall,
    /// All tasks waited.
    pub full: Stall,
}

/// Shares of the last 10, 60 and 300 seconds in percent, and the sum in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds in all.
    pub total_us: u64,
}

impl Pressures {
    /// Reads a version 2 group's pressure; None where the kernel counts none (built or booted without it).
    #[must_use]
    pub fn read(dir: BorrowedFd<'_>) -> Option<Self> {
        let read = |name| file::read(dir, name).ok().map(|text| parse(&text));
        let all = Self {
            cpu: read("cpu.pressure"),
            memory: read("memory.pressure"),
            io: read("io.pressure"),
        };
        (all.cpu.is_some() || all.memory.is_some() || all.io.is_some()).then_some(all)
    }
}

fn parse(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let stall = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, n) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "avg10" => stall.avg10 = n.parse().unwrap_or(0.0),
                "avg60" => stall.avg60 = n.parse().unwrap_or(0.0),
                "avg300" => stall.avg300 = n.parse().unwrap_or(0.0),
                "total" => stall.total_us = n.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    pressure
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_lines() {
        let p = parse(
            "some avg10=1.50 avg60=0.55 avg300=1.02 total=34580320\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        );
        assert_eq!(
            (p.some.avg10, p.some.total_us, p.full.total_us),
            (1.5, 34_580_320, 7)
        );
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "[a-z0-9:= \n.-]{0,200}") {
            let pressure = parse(&text);
            prop_assert!(pressure.some.avg10 >= 0.0 || text.contains('-'));
        }
    }
}
