//! The helper's end that holds the mounts of a container that does not run (`minidock-runtime view`).
use std::fs::File;
use std::io::{IoSliceMut, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use crate::supervisor::{Helper, Spawn, Stream, Supervisor};
use crate::{Context, Error, Kind, Result};

/// How long a mount, and its end, may take.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// The process that holds the mounts. They are gone when this is.
#[derive(Debug)]
pub struct View {
    client: Supervisor,
    process: Option<OwnedFd>,
}

/// Its first word.
#[derive(Deserialize)]
struct Answer {
    event: String,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    errno: Option<i32>,
    #[serde(default)]
    message: String,
}

impl View {
    /// Starts it, and returns the top of what it has mounted.
    pub fn open(helper: &Helper, bundle: &Path, request: &[u8]) -> Result<(OwnedFd, Self)> {
        let subject = || bundle.display().to_string();
        let input = memfd_create(c"request", MemfdFlags::CLOEXEC).context("make file", subject)?;
        let mut input = File::from(input);
        input.write_all(request).context("write", subject)?;
        input.rewind().context("write", subject)?;
        let spawn = Spawn {
            helper,
            bundle,
            streams: [Stream::Fd(input.as_fd()), Stream::Null, Stream::Null],
        };
        let client = spawn.spawn_verb(c"view")?;
        let (answer, top) = answer(&client)?;
        match top {
            Some(top) if answer.event == "mounted" => {
                let pid = Pid::from_raw(answer.pid);
                let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                Ok((top, Self { client, process }))
            }
            _ => Err(refused(answer)),
        }
    }
}

fn refused(answer: Answer) -> Error {
    Error {
        op: "mount files of",
        subject: "container".to_owned(),
        kind: kind(&answer),
        errno: answer.errno,
        source: Some(answer.message.into()),
    }
}

fn kind(answer: &Answer) -> Kind {
    const KINDS: [Kind; 9] = [
        Kind::NotFound,
        Kind::Conflict,
        Kind::Invalid,
        Kind::Unsupported,
        Kind::Denied,
        Kind::Busy,
        Kind::Corrupt,
        Kind::Timeout,
        Kind::Limit,
    ];
    let named = KINDS.into_iter().find(|kind| kind.name() == answer.kind);
    named.unwrap_or_else(|| Kind::from_errno(answer.errno.unwrap_or(libc::EIO)))
}

/// Reads the first word, and the descriptor that comes with it.
fn answer(client: &Supervisor) -> Result<(Answer, Option<OwnedFd>)> {
    let fail = || "its helper";
    let socket = client.socket();
    if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&PATIENCE)) == Ok(0) {
        let why = "the helper has not mounted them within 30 s";
        return Err(Error::new(
            Kind::Timeout,
            "mount files of",
            "container",
            why,
        ));
    }
    let mut text = vec![0; 64 << 10];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut parts = [IoSliceMut::new(&mut text)];
        match recvmsg(socket, &mut parts, &mut rights, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.context("hear from", fail)?,
        }
    };
    let top = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let answer = serde_json::from_slice(&text[..got.bytes]).map_err(|_| {
        let why = "the helper that mounts them ended without a word";
        Error::new(
            Kind::System(libc::EPIPE),
            "mount files of",
            "container",
            why,
        )
    })?;
    Ok((answer, top))
}

impl Drop for View {
    /// Lets it end, and waits for that: the next mount of the same layer is the only one then.
    fn drop(&mut self) {
        self.client.close();
        if let Some(process) = &self.process {
            let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&PATIENCE));
        }
    }
}
