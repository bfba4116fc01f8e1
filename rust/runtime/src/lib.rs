//! The supervisor of one container, and the OCI runtime command line.
use std::ffi::OsString;
use std::process::ExitCode;

pub mod supervise;

/// Runs the verb that the command line names.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|verb| verb.to_str()) {
        Some("supervise") => supervise::main(&args[1..]),
        _ => ExitCode::FAILURE,
    }
}
