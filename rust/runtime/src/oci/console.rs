//! The terminal's master side, on its way to whoever asked for it.
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use minidock_core::{Context, Error, Kind, Result};
use oci_spec::runtime::Process;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};

/// Checks that `--console-socket` is given exactly when it is needed: for a terminal that this process does not serve.
pub fn check(process: Option<&Process>, socket: Option<&Path>, detached: bool) -> Result<()> {
    let terminal = process.is_some_and(|p| p.terminal().unwrap_or(false));
    let invalid = |why| Err(Error::new(Kind::Invalid, "use console socket", "", why));
    match (terminal, detached, socket) {
        (true, true, None) => invalid("a detached process with a terminal needs --console-socket"),
        (false, _, Some(_)) => invalid("--console-socket needs a process with a terminal"),
        (true, false, Some(_)) => invalid("--console-socket is for detached processes"),
        _ => Ok(()),
    }
}

/// Sends the master side over a unix stream socket (`SCM_RIGHTS`), with the terminal's name as the message.
pub fn send(socket: &Path, master: &OwnedFd) -> Result<()> {
    let shown = || socket.display().to_string();
    let stream = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .context("make socket", shown)?;
    let address = SocketAddrUnix::new(socket).context("connect to console socket", shown)?;
    connect(&stream, &address).context("connect to console socket", shown)?;
    let name = b"/dev/ptmx";
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(
        &stream,
        &[IoSlice::new(name)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .context("send terminal to console socket", shown)
    .map(drop)
}
