//! A command in a running container whose output is kept: for health checks.
use std::path::Path;

use minidock_core::process::Failure;

use super::group::Group;
use super::record::Record;
use super::request::Request;
use super::watch::{Deadline, Watch};
use super::{Starting, explain, open_init, own_signals, start};

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Of the command; 128 + n when signal n killed it. None if it could not be started.
    pub exit_code: Option<i32>,
    /// Its time limit has ended it.
    pub timed_out: bool,
    /// The container is paused, so that nothing can be said.
    pub paused: bool,
    /// The beginning of what it wrote to stdout and stderr; or why it could not be started.
    pub output: Vec<u8>,
    /// There was more.
    pub cut: bool,
}

/// Runs a command to its end.
///
/// For a process of its own (it blocks, and its signals are taken): its end is the command's end.
pub fn capture(bundle: &Path, request: &Request) -> Captured {
    match run(bundle, request) {
        Ok(captured) => captured,
        Err(failure) => Captured {
            output: failure.to_string().into_bytes(),
            ..Captured::default()
        },
    }
}

fn run(bundle: &Path, request: &Request) -> Result<Captured, Failure> {
    let signals = own_signals()?;
    let deadline = Deadline::after(request.timeout_ms);
    let init = open_init(request)?;
    let group = Group::make(&request.cgroup, &request.group_name())?;
    let paused = Captured {
        paused: true,
        ..Captured::default()
    };
    if group.is_frozen() {
        group.dissolve();
        return Ok(paused);
    }
    let mut starting = Starting {
        control: None,
        signals: &signals,
        bound: true,
        deadline,
        told: false,
    };
    let started = start(bundle, request, &init, &group, &mut starting);
    let (launched, streams) = match started {
        Ok(started) => started,
        Err(failure) => {
            // A process that has been frozen on its way has been waited for.
            let late = starting.told || group.is_frozen();
            group.dissolve();
            return if late {
                Ok(paused)
            } else {
                Err(explain(failure, request, &init))
            };
        }
    };
    let mut record = Record::begin(request)?;
    let connected = streams.connect(launched.console.as_ref());
    let mut watch = Watch {
        launched,
        group: &group,
        record: &mut record,
        control: None,
        signals: &signals,
        bound: true,
        deadline,
        input: None,
        outputs: Vec::new(),
        captured: None,
        timed_out: false,
        frozen: false,
    };
    match connected {
        Ok((_, outputs)) => watch.outputs = outputs,
        Err(_) => watch.kill(),
    }
    // With the first version of cgroups a frozen process dies only when it is thawed: the loop waits for that.
    let exit = watch.run();
    let (kept, cut) = watch
        .captured
        .take()
        .map(|capture| (capture.kept, capture.cut))
        .unwrap_or_default();
    let captured = Captured {
        exit_code: Some(exit.code),
        timed_out: watch.timed_out,
        paused: watch.frozen,
        output: kept,
        cut,
    };
    drop(watch);
    group.dissolve();
    Ok(captured)
}
