//! `minidock-runtime supervise`: starts one container and stays its parent (docs/supervisor.md).
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the verb; `args` are those after `supervise`.
pub fn main(args: &[OsString]) -> ExitCode {
    let _ = args;
    ExitCode::from(125)
}
