//! `minidock-runtime hold`: a process for systemd to make a scope of; the container's supervisor takes its place.
use std::ffi::OsString;
use std::process::{ExitCode, id};

use minidock_core::sys;
use rustix::net::{RecvFlags, recv};

use crate::shelter;
use crate::supervise::control;

/// Runs the verb, until the client closes its end of descriptor 3.
pub fn main(_: &[OsString]) -> ExitCode {
    let client = match shelter::begin("hold", sys::fork) {
        Ok(client) => client,
        Err(code) => return code,
    };
    control::tell(
        Some(&client),
        &format!(r#"{{"event":"started","pid":{}}}"#, id()),
    );
    let mut nothing = [0; 1];
    while matches!(
        recv(&client, &mut nothing, RecvFlags::empty()),
        Ok((1.., _)) | Err(rustix::io::Errno::INTR)
    ) {}
    ExitCode::SUCCESS
}
