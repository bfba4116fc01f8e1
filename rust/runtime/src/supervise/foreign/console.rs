//! The socket on which the runtime hands over the terminal's master side.
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use minidock_core::error::{Context, Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, listen, recvmsg, socket_with,
};
use rustix::process::getpid;

/// How long a runtime that has created the container may take to send its terminal.
const LIMIT: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A listening socket.
#[derive(Debug)]
pub struct Console {
    socket: OwnedFd,
    folder: OwnedFd,
}

impl Console {
    /// Listens in `folder`.
    pub fn listen(folder: &Path) -> Result<Self> {
        let shown = || folder.display().to_string();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder_fd = openat(CWD, folder, flags, Mode::empty()).context("open", shown)?;
        let made = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let socket = made.context("make socket", shown)?;
        let console = Self {
            socket,
            folder: folder_fd,
        };
        let address = SocketAddrUnix::new(console.path()).context("make socket", shown)?;
        bind(&console.socket, &address).context("make socket", shown)?;
        listen(&console.socket, 1).context("make socket", shown)?;
        Ok(console)
    }

    /// Where the runtime finds it. Through our descriptor, as a socket's path has at most 107 bytes.
    pub fn path(&self) -> PathBuf {
        let pid = getpid().as_raw_nonzero();
        PathBuf::from(format!(
            "/proc/{pid}/fd/{}/console",
            self.folder.as_raw_fd()
        ))
    }

    /// Takes the terminal that the runtime has sent.
    pub fn receive(self) -> Result<OwnedFd> {
        let missing = || {
            Error::new(
                Kind::Timeout,
                "get terminal from runtime",
                "",
                "it has not sent one",
            )
        };
        let wait = |fd: &OwnedFd| {
            let mut fds = [PollFd::new(fd, PollFlags::IN)];
            match poll(&mut fds, Some(&LIMIT)) {
                Ok(0) | Err(_) => Err(missing()),
                Ok(_) => Ok(()),
            }
        };
        wait(&self.socket)?;
        let stream = accept_with(&self.socket, SocketFlags::CLOEXEC)
            .context("get terminal from runtime", String::new)?;
        wait(&stream)?;
        let mut name = [0u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut name)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .context("get terminal from runtime", String::new)?;
        let mut fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let terminal = fds.next().and_then(|mut fds| fds.next());
        terminal
            .filter(|fd| rustix::termios::isatty(fd))
            .ok_or_else(missing)
    }
}
