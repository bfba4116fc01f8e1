//! The size of a new terminal, known before its first process looks at it.
use std::os::fd::AsFd;

use oci_spec::runtime::{BoxBuilder, Spec};
use rustix::termios::tcgetwinsize;

/// Gives a process that gets a terminal the size of the caller's (`stdin`), unless its document says one.
pub fn fit(spec: &mut Spec, stdin: impl AsFd) {
    let Some(process) = spec.process_mut() else {
        return;
    };
    if !process.terminal().unwrap_or(false) || process.console_size().is_some() {
        return;
    }
    let Ok(size) = tcgetwinsize(stdin) else {
        return;
    };
    let size = BoxBuilder::default()
        .height(u64::from(size.ws_row))
        .width(u64::from(size.ws_col))
        .build();
    process.set_console_size(size.ok());
}
