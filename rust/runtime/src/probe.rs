//! `minidock-runtime probe`: what works on this host, for `minidock doctor`; one JSON array on stdout.
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use minidock_core::probe::{Context, run, run_group};

/// Runs the verb: `probe [--data-root DIR] [--json]`. Hidden: `--group NAME` runs one group in this process.
pub fn main(args: &[OsString]) -> ExitCode {
    let mut context = Context {
        data_root: PathBuf::from("/var/lib/minidock"),
    };
    let mut group = None;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (arg.to_str(), args.as_slice().first()) {
            (Some("--json"), _) => continue,
            (Some("--data-root"), Some(value)) => context.data_root = value.into(),
            (Some("--group"), Some(value)) => group = value.to_str(),
            _ => return usage(arg),
        }
        args.next();
    }
    let checks = match group {
        None => run(&context),
        Some(name) => match run_group(&context, name) {
            Some(_) if name.starts_with("helper:") => return ExitCode::SUCCESS,
            Some(checks) => checks,
            None => return usage(&name.into()),
        },
    };
    match serde_json::to_vec(&checks).map(|json| std::io::stdout().write_all(&json)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn usage(arg: &OsString) -> ExitCode {
    eprintln!(
        "minidock-runtime probe: unexpected argument {arg:?}; use [--data-root DIR] [--json]"
    );
    ExitCode::from(125)
}
