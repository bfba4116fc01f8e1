//! update: other limits for a container in use. events: what it has used.
use std::io::{Read as _, stdin};
use std::time::Duration;

use minidock_core::cgroup::resources::{Missing, Options};
use minidock_core::{Context, Error, Kind, Result};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::lifecycle::group_of;
use super::options::{Given, Verb, flag, invalid, value};
use super::state::{Container, Status};
use super::{Global, Outcome, print};

/// Resource documents are read up to this size.
const RESOURCES_MAX: u64 = 1 << 20;

/// Options that are numbers: their name, the part of `linux.resources` and its key.
const NUMBERS: [(&str, &str, &str); 12] = [
    ("memory", "memory", "limit"),
    ("memory-reservation", "memory", "reservation"),
    ("memory-swap", "memory", "swap"),
    ("cpu-period", "cpu", "period"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("pids-limit", "pids", "limit"),
    ("blkio-weight", "blockIO", "weight"),
];

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "update",
        operands: "ID",
        help: "change the limits of a container",
        options: &[
            value(
                "resources",
                Some('r'),
                "FILE",
                "a linux.resources document; - is stdin; excludes the others",
            ),
            value("memory", None, "BYTES", "memory"),
            value(
                "memory-reservation",
                None,
                "BYTES",
                "memory that is kept under pressure",
            ),
            value(
                "memory-swap",
                None,
                "BYTES",
                "memory and swap; -1: no limit",
            ),
            value("cpu-period", None, "MICROSECONDS", "CPU period"),
            value("cpu-quota", None, "MICROSECONDS", "CPU time in a period"),
            value(
                "cpu-burst",
                None,
                "MICROSECONDS",
                "CPU time that may be saved up",
            ),
            value("cpu-share", None, "SHARES", "CPU weight, 2 to 262144"),
            value(
                "cpu-rt-period",
                None,
                "MICROSECONDS",
                "real-time CPU period",
            ),
            value(
                "cpu-rt-runtime",
                None,
                "MICROSECONDS",
                "real-time CPU time in a period",
            ),
            value(
                "cpu-idle",
                None,
                "0|1",
                "run only when nothing else wants the CPU",
            ),
            value("cpuset-cpus", None, "LIST", "CPUs that may be used"),
            value("cpuset-mems", None, "LIST", "memory nodes that may be used"),
            value("pids-limit", None, "N", "processes and threads"),
            value(
                "blkio-weight",
                None,
                "WEIGHT",
                "block I/O weight, 10 to 1000",
            ),
        ],
        command: false,
        run: update,
    },
    Verb {
        name: "events",
        operands: "ID",
        help: "print what a container uses, as JSON",
        options: &[
            flag("stats", None, "once"),
            value(
                "interval",
                None,
                "DURATION",
                "time between two prints, as 5s or 500ms [5s]",
            ),
        ],
        command: false,
        run: events,
    },
];

fn update(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let container = Container::open(&global.root, id)?;
    let status = container.status();
    if status == Status::Stopped {
        return Err(container.refuse("update container", status).into());
    }
    let wanted = from_options(given)?;
    let document = match given.path("resources") {
        Some(_) if !wanted.is_empty() => {
            return Err(invalid("--resources", "it excludes the other options").into());
        }
        Some(path) => read_resources(path)?,
        None if wanted.is_empty() => return Err(invalid("", "no limit is given").into()),
        None => Value::Object(wanted),
    };
    let resources: LinuxResources = serde_json::from_value(document)
        .map_err(|e| Error::new(Kind::Invalid, "read limits", "", e.to_string()))?;
    let options = Options {
        missing: Missing::Refuse,
        update: true,
    };
    for warning in group_of(&container, "update container")?.apply_with(&resources, options)? {
        global.warn(&warning.to_string());
    }
    Ok(0)
}

fn from_options(given: &Given) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    let mut put = |part: &str, key: &str, value: Value| {
        if let Value::Object(map) = all.entry(part).or_insert_with(|| json!({})) {
            map.insert(key.to_owned(), value);
        }
    };
    for (option, part, key) in NUMBERS {
        if let Some(number) = given.parsed::<i64>(option, "a number")? {
            put(part, key, number.into());
        }
    }
    for (option, key) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(text) = given.text(option)? {
            put("cpu", key, text.into());
        }
    }
    Ok(all)
}

fn read_resources(path: &std::path::Path) -> Result<Value> {
    let shown = || path.display().to_string();
    let mut text = Vec::new();
    let read = if path.as_os_str() == "-" {
        stdin().take(RESOURCES_MAX).read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(RESOURCES_MAX).read_to_end(&mut text))
    };
    read.context("read", shown)?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::new(Kind::Invalid, "read", shown(), e.to_string()))
}

fn events(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let interval = duration(given.text("interval")?.as_deref().unwrap_or("5s"))?;
    let container = Container::open(&global.root, id)?;
    let status = container.status();
    if status == Status::Stopped {
        return Err(container.refuse("read usage of container", status).into());
    }
    loop {
        let stats = group_of(&container, "read usage of container")?.stats();
        print(&(json!({"type": "stats", "id": id, "data": stats}).to_string() + "\n"))?;
        if given.has("stats") {
            return Ok(0);
        }
        std::thread::sleep(interval);
        if container.status() == Status::Stopped {
            return Ok(0);
        }
    }
}

/// A time written as `500ms`, `5s` or `2m`.
fn duration(text: &str) -> Result<Duration> {
    let wrong = || invalid(format!("--interval {text}"), "write it as 500ms, 5s or 2m");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u32 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match &text[digits..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return Err(wrong()),
    };
    Some(unit * number)
        .filter(|time| !time.is_zero())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn times() {
        assert_eq!(duration("500ms").unwrap().as_millis(), 500);
        assert_eq!(duration("2m").unwrap().as_secs(), 120);
        for bad in ["", "5", "s", "0s", "5h", "-1s", "99999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
