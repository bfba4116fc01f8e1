//! state, list and ps.
use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

use super::options::{Given, Opt, Verb, flag, invalid, value};
use super::state::{Container, Status};
use super::{Global, Outcome, print, print_json};

const FORMAT: Opt = value("format", Some('f'), "FORMAT", "table or json [table]");

/// The verbs of this file.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "state",
        operands: "ID",
        help: "print the state of a container as JSON",
        options: &[],
        command: false,
        run: state,
    },
    Verb {
        name: "list",
        operands: "",
        help: "print all containers of this state root",
        options: &[FORMAT, flag("quiet", Some('q'), "ids only")],
        command: false,
        run: list,
    },
    Verb {
        name: "ps",
        operands: "ID",
        help: "print the processes of a container",
        options: &[FORMAT],
        command: false,
        run: ps,
    },
];

/// The state document of the specification, and what runc adds to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    oci_version: String,
    id: String,
    pid: i32,
    status: &'static str,
    bundle: String,
    rootfs: String,
    created: String,
    annotations: HashMap<String, String>,
    owner: String,
}

impl State {
    fn of(container: &Container) -> Self {
        let (record, status) = (&container.record, container.status());
        Self {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            pid: if status == Status::Stopped {
                0
            } else {
                record.init.pid
            },
            status: status.name(),
            bundle: record.bundle.display().to_string(),
            rootfs: record.rootfs.display().to_string(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
            owner: std::fs::metadata(&record.bundle)
                .map_or_else(|_| String::new(), |m| m.uid().to_string()),
        }
    }
}

fn state(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    print_json(&State::of(&Container::open(&global.root, id)?))
}

/// Whether JSON was asked for.
fn wants_json(given: &Given) -> minidock_core::Result<bool> {
    match given.text("format")?.as_deref() {
        None | Some("table") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(invalid(
            format!("--format {other}"),
            "neither table nor json",
        )),
    }
}

fn list(global: &Global, given: &Given) -> Outcome {
    if let Some(extra) = given.operands.first() {
        return Err(invalid(extra.to_string_lossy(), "unexpected argument").into());
    }
    let states: Vec<State> = Container::all(&global.root)?
        .iter()
        .map(State::of)
        .collect();
    if given.has("quiet") {
        return print(
            &states
                .iter()
                .fold(String::new(), |out, state| out + &state.id + "\n"),
        );
    }
    if wants_json(given)? {
        return print_json(&states);
    }
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(states.into_iter().map(|s| {
        [
            s.id,
            s.pid.to_string(),
            s.status.to_owned(),
            s.bundle,
            s.created,
            s.owner,
        ]
    }));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .fold(String::new(), |mut line, (cell, width)| {
                let _ = write!(line, "{cell:<width$}   ");
                line
            });
        let _ = writeln!(out, "{}", cells.trim_end());
    }
    print(&out)
}

fn ps(global: &Global, given: &Given) -> Outcome {
    let (id, _) = given.id(0)?;
    let container = Container::open(&global.root, id)?;
    let status = container.status();
    if status == Status::Stopped {
        return Err(container
            .refuse("list processes of container", status)
            .into());
    }
    let group = super::lifecycle::group_of(&container, "list processes of container")?;
    let mut processes = group.processes()?;
    processes.sort_unstable();
    if wants_json(given)? {
        return print_json(&processes);
    }
    let mut out = String::from("    PID   COMMAND\n");
    for pid in processes {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // A process chooses this text itself: nothing of it may act on a terminal.
        let printable = |byte: &u8| {
            if byte.is_ascii_graphic() {
                char::from(*byte)
            } else {
                ' '
            }
        };
        let text: String = command.iter().map(printable).collect();
        let _ = writeln!(out, "{pid:>7}   {}", text.trim_end());
    }
    print(&out)
}
