//! What parent and child say to each other between `clone3` and `execve`.
//!
//! One `SOCK_SEQPACKET` pair, close-on-exec on both sides:
//!
//! ```text
//!  parent                                          child (PID 1 of the container)
//!  opens rootfs, bind sources, namespaces
//!  clone3(all CLONE_NEW*) ───────────────────────▶ born in its namespaces and v2 cgroup
//!     ◀─────────────────────────── Ready            only with a new user namespace, hooks or a network to set up
//!  writes id maps, runs hooks
//!     Go ─────────────────────────────────────────▶ becomes root of the user namespace
//!                                                   joins v1 cgroups, mounts, pivot_root, limits
//!     ◀─────────────────────────── Warning(text)    any number, any time
//!     ◀─────────────────────────── Console(fd)      the terminal's master
//!     ◀─────────────────────────── Listener(fd)     the seccomp notify descriptor
//!                                                   seccomp, capabilities, user
//!     ◀─────────────────────────── Held             only with a hold; the child then waits on the fifo
//!     ◀─────────────────────────── Failed(…)        and the child ends
//!     ◀─────────────────────────── end of file      execve has closed the child's end: it runs
//! ```
//!
//! Without a user namespace, hooks or a hold the child never waits and the parent wakes once, at the end of file. A child
//! whose parent has died reads end of file where it waits for `Go`, and ends.
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, recvmsg, sendmsg, socket_with, socketpair,
};

use super::Failure;
use crate::error::{Context, Error, Kind, Result};

/// The longest message; longer texts are cut.
const LONGEST: usize = 8192;

/// A message of the child.
#[derive(Debug)]
pub(super) enum Message {
    Ready,
    Warning(String),
    Console(OwnedFd),
    Listener(OwnedFd),
    Held,
    Failed(Failure),
}

/// A new pair: the parent's end and the child's.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .context("make socket pair", String::new)
}

fn send(to: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    sendmsg(
        to,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .context("write to start-up channel", String::new)
    .map(drop)
}

/// The child's side.
pub(super) struct ChildEnd(pub OwnedFd);

impl ChildEnd {
    pub(super) fn warn(&self, text: &str) {
        // A warning that cannot be told stops nothing.
        let _ = send(self.0.as_fd(), format!("W{text}").as_bytes(), None);
    }

    pub(super) fn console(&self, master: &OwnedFd) -> Result<()> {
        send(self.0.as_fd(), b"C", Some(master.as_fd()))
    }

    pub(super) fn listener(&self, fd: &OwnedFd) -> Result<()> {
        send(self.0.as_fd(), b"L", Some(fd.as_fd()))
    }

    pub(super) fn held(&self) -> Result<()> {
        send(self.0.as_fd(), b"H", None)
    }

    /// Tells that the namespaces exist and waits until the parent has done its part.
    pub(super) fn ready(&self) -> Result<()> {
        send(self.0.as_fd(), b"R", None)?;
        let mut byte = [0u8; 1];
        let (_, n) = rustix::net::recv(&self.0, &mut byte[..], RecvFlags::empty())
            .context("read start-up channel", String::new)?;
        if n == 0 {
            return Err(Error::new(
                Kind::System(libc::EPIPE),
                "start container",
                "",
                "its parent has ended",
            ));
        }
        Ok(())
    }

    pub(super) fn fail(&self, failure: &Failure) {
        let e = &failure.error;
        // A command may be longer than a message: what is wrong with it has room behind it.
        let subject = &e.subject[..e.subject.floor_char_boundary(LONGEST / 2)];
        let mut text = format!(
            "F{}\0{}\0{}\0{}\0{}\0",
            failure.exit_code,
            e.kind.name(),
            e.errno.unwrap_or(0),
            e.op,
            subject
        );
        if let Some(source) = &e.source {
            text.push_str(&source.to_string());
        }
        let _ = send(self.0.as_fd(), text.as_bytes(), None);
    }
}

/// Lets a child go on that has said [`Message::Ready`].
pub(super) fn go(to: BorrowedFd<'_>) -> Result<()> {
    send(to, b"G", None)
}

/// Connects to a unix stream socket and sends a document with one descriptor.
pub(super) fn send_document(path: &Path, document: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .context("make socket", String::new)?;
    let address = SocketAddrUnix::new(path).context("connect to", || path.display().to_string())?;
    connect(&socket, &address).context("connect to", || path.display().to_string())?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = sendmsg(
        &socket,
        &[IoSlice::new(document)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .context("write to", || path.display().to_string())?;
    std::os::unix::net::UnixStream::from(socket)
        .write_all(&document[sent..])
        .context("write to", || path.display().to_string())
}

/// Waits for the next message; `None` at the end of file.
pub(super) fn receive(from: BorrowedFd<'_>) -> Result<Option<Message>> {
    let mut buffer = vec![0u8; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match recvmsg(
            from,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.context("read start-up channel", String::new)?,
        }
    };
    if got.bytes == 0 {
        return Ok(None);
    }
    let bad = || {
        Error::new(
            Kind::Corrupt,
            "read start-up channel",
            "",
            "unknown message",
        )
    };
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(bad());
    }
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last();
        }
    }
    let body = &buffer[1..got.bytes];
    let text = || String::from_utf8_lossy(body).into_owned();
    Ok(Some(match (buffer[0], fd) {
        (b'R', _) => Message::Ready,
        (b'H', _) => Message::Held,
        (b'W', _) => Message::Warning(text()),
        (b'C', Some(fd)) => Message::Console(fd),
        (b'L', Some(fd)) => Message::Listener(fd),
        (b'F', _) => Message::Failed(parse_failure(&text()).ok_or_else(bad)?),
        _ => return Err(bad()),
    }))
}

fn parse_failure(text: &str) -> Option<Failure> {
    let mut fields = text.splitn(6, '\0');
    let mut next = || fields.next();
    let (code, kind, errno, op, subject, why) =
        (next()?, next()?, next()?, next()?, next()?, next()?);
    let errno = errno.parse::<i32>().ok()?;
    // Errors name their operation by a constant; this process has received one at most, and is about to end.
    let op: &'static str = Box::leak(op.to_owned().into_boxed_str());
    let kind = match kind {
        "not-found" => Kind::NotFound,
        "conflict" => Kind::Conflict,
        "invalid" => Kind::Invalid,
        "unsupported" => Kind::Unsupported,
        "denied" => Kind::Denied,
        "busy" => Kind::Busy,
        "corrupt" => Kind::Corrupt,
        "timeout" => Kind::Timeout,
        "limit" => Kind::Limit,
        _ => Kind::System(errno),
    };
    let mut error = if errno == 0 {
        Error::new(kind, op, subject, why)
    } else {
        Error::errno(op, subject, errno).with_kind(kind)
    };
    // A cause in our own words beside the errno.
    if errno != 0 && !why.contains("(os error") {
        error.source = Some(why.to_owned().into());
    }
    Some(Failure {
        error,
        exit_code: code.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_cross_unchanged() {
        let (parent, child) = pair().unwrap();
        let child = ChildEnd(child);
        child.fail(&Failure::execute(Error::errno(
            "execute",
            "/nope",
            libc::ENOENT,
        )));
        child.fail(&Error::new(Kind::Denied, "mount", "/proc", "a link").into());
        let Some(Message::Failed(f)) = receive(parent.as_fd()).unwrap() else {
            panic!()
        };
        assert_eq!(
            (f.exit_code, f.error.errno, f.error.kind),
            (127, Some(libc::ENOENT), Kind::NotFound)
        );
        assert_eq!(f.to_string(), "execute /nope: no such file or directory");
        let Some(Message::Failed(f)) = receive(parent.as_fd()).unwrap() else {
            panic!()
        };
        assert_eq!(
            (f.exit_code, f.to_string().as_str()),
            (125, "mount /proc: a link")
        );
    }

    #[test]
    fn long_texts_are_cut_and_the_end_is_seen() {
        let (parent, child) = pair().unwrap();
        let child = ChildEnd(child);
        child.warn(&"x".repeat(3 * LONGEST));
        drop(child);
        let Some(Message::Warning(w)) = receive(parent.as_fd()).unwrap() else {
            panic!()
        };
        assert_eq!(w.len(), LONGEST - 1);
        assert!(receive(parent.as_fd()).unwrap().is_none());
    }

    #[test]
    fn failures_of_long_commands_cross() {
        let (parent, child) = pair().unwrap();
        let child = ChildEnd(child);
        let long = "ö".repeat(LONGEST);
        child.fail(&Failure::execute(Error::errno(
            "execute",
            long,
            libc::ENAMETOOLONG,
        )));
        let Some(Message::Failed(f)) = receive(parent.as_fd()).unwrap() else {
            panic!()
        };
        assert_eq!(f.error.errno, Some(libc::ENAMETOOLONG));
        assert_eq!(f.error.subject.len(), LONGEST / 2);
    }

    #[test]
    fn descriptors_cross() {
        let (parent, child) = pair().unwrap();
        let child = ChildEnd(child);
        child.console(&child.0).unwrap();
        assert!(matches!(
            receive(parent.as_fd()).unwrap(),
            Some(Message::Console(_))
        ));
    }
}
