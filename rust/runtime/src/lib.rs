//! The supervisor of one container, and the OCI runtime command line.
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

mod clock;
pub mod hello;
pub mod hold;
pub mod network;
pub mod oci;
pub mod probe;
mod shelter;
pub mod supervise;
pub mod supervise_exec;
pub mod terminal;
pub mod view;

/// Runs the verb that the command line names.
pub fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    // The image minidock/hello is this program under another name.
    if Path::new(&name)
        .file_name()
        .is_some_and(|name| name == "hello")
    {
        return hello::main(&args);
    }
    match args.first().and_then(|verb| verb.to_str()) {
        Some("probe") => probe::main(&args[1..]),
        Some("supervise") => supervise::main(&args[1..]),
        Some("supervise-exec") => supervise_exec::main(&args[1..]),
        Some("hold") => hold::main(&args[1..]),
        Some("view") => view::main(&args[1..]),
        Some("hello") => hello::main(&args[1..]),
        _ => oci::main(&args),
    }
}
