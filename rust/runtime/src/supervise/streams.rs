//! The container's descriptors 0 to 2, and the supervisor's ends of them.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use minidock_core::error::{Context, Result};
use minidock_core::process::Stdio;
use minidock_core::security::selinux;
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::document::{Document, StdioMode};

/// What is read at once.
pub const CHUNK: usize = 16 * 1024;

/// The container's descriptors, and the other ends.
pub struct Streams {
    container: Option<[OwnedFd; 3]>,
    ends: Ends,
}

/// The supervisor's ends; none with a terminal, before it is there.
#[derive(Default)]
pub struct Ends {
    input: Option<OwnedFd>,
    /// Read ends of stdout and stderr.
    pub outputs: Vec<OwnedFd>,
}

impl Streams {
    /// Pipes, unless the container gets the caller's own descriptors or a terminal; `label` is the SELinux label of its files.
    pub fn make(document: &Document, terminal: bool, label: Option<&str>) -> Result<Self> {
        if terminal || document.stdio == StdioMode::Inherit {
            return Ok(Self {
                container: None,
                ends: Ends::default(),
            });
        }
        let (input, stdin) = if document.stdin {
            let (read, write) = pipe(label)?;
            (Some(write), read)
        } else {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let null =
                openat(CWD, "/dev/null", flags, Mode::empty()).context("open", || "/dev/null")?;
            (None, null)
        };
        let ((out_read, out), (err_read, err)) = (pipe(label)?, pipe(label)?);
        Ok(Self {
            container: Some([stdin, out, err]),
            ends: Ends {
                input,
                outputs: vec![out_read, err_read],
            },
        })
    }

    /// What the container gets, and what stays here.
    pub fn split(self) -> (Stdio, Ends) {
        (self.container.map_or(Stdio::Inherit, Stdio::Fds), self.ends)
    }
}

/// The SELinux label of a container's files, if it has one.
pub fn mount_label(spec: &Spec) -> Option<&str> {
    spec.linux().as_ref()?.mount_label().as_deref()
}

/// A pipe that a container may use whose files have this SELinux label.
///
/// Fails with `Limit` if no descriptor is left.
pub fn pipe(label: Option<&str>) -> Result<(OwnedFd, OwnedFd)> {
    match label.filter(|label| !label.is_empty() && selinux::is_enabled()) {
        Some(label) => selinux::pipe(label),
        None => pipe_with(PipeFlags::CLOEXEC).context("make pipe", String::new),
    }
}

impl Ends {
    /// Makes them ready for the loop; `console` is the terminal's master side.
    pub fn open(
        self,
        document: &Document,
        console: Option<&OwnedFd>,
    ) -> Result<(Option<Input>, Vec<Output>)> {
        let Some(console) = console else {
            let input = self.input.map(|to| Input::new(to, document.stdin_once));
            let outputs = self.outputs.into_iter().enumerate();
            let outputs = outputs.map(|(stream, from)| Output::new(from, stream));
            return Ok((input, outputs.collect()));
        };
        let duplicate = || {
            rustix::io::fcntl_dupfd_cloexec(console, 3).context("duplicate terminal", String::new)
        };
        // The end of a client's input is not the end of a terminal.
        let input = document.stdin.then(duplicate).transpose()?;
        let input = input.map(|to| Input::new(to, false));
        Ok((input, vec![Output::new(duplicate()?, 0)]))
    }
}

/// stdout (0) or stderr (1) of the container.
pub struct Output {
    from: OwnedFd,
    /// Which of the two.
    pub stream: usize,
    /// Nothing more comes.
    pub ended: bool,
}

/// What a read of an output gave.
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// None now.
    Nothing,
    /// No more.
    End,
}

impl Output {
    fn new(from: OwnedFd, stream: usize) -> Self {
        let _ = rustix::io::ioctl_fionbio(&from, true);
        Self {
            from,
            stream,
            ended: false,
        }
    }

    /// Where it comes from.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }

    /// Whether it is a pipe, whose end can be closed, and no terminal.
    pub fn is_pipe(&self) -> bool {
        use rustix::fs::{FileType, fstat};
        fstat(&self.from).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Fifo)
    }

    /// Reads without waiting.
    pub fn read(&self, buffer: &mut [u8]) -> Got {
        match rustix::io::read(&self.from, buffer) {
            Ok(0) => Got::End,
            Ok(n) => Got::Bytes(n),
            Err(Errno::AGAIN | Errno::INTR) => Got::Nothing,
            // A terminal that no process has open any more.
            Err(_) => Got::End,
        }
    }
}

/// stdin of the container.
pub struct Input {
    to: OwnedFd,
    pending: Vec<u8>,
    /// It ends with the first client whose input has ended.
    once: bool,
    ending: bool,
}

impl Input {
    fn new(to: OwnedFd, once: bool) -> Self {
        let _ = rustix::io::ioctl_fionbio(&to, true);
        Self {
            to,
            pending: Vec::new(),
            once,
            ending: false,
        }
    }

    /// Where it goes.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }

    /// Whether more can be taken from clients.
    pub fn is_ready(&self) -> bool {
        self.pending.is_empty() && !self.ending
    }

    /// Whether something waits for room.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes what a client typed; false when the container reads no more.
    pub fn push(&mut self, data: &[u8]) -> bool {
        self.pending.extend_from_slice(data);
        self.flush()
    }

    /// Writes what is pending, as far as it goes; false when it is over.
    pub fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.to, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::AGAIN | Errno::INTR) => return true,
                Err(_) => return false,
            }
        }
        self.pending = Vec::new();
        !self.ending
    }

    /// A client's input has ended; false when the container's has, too.
    pub fn client_ended(&mut self) -> bool {
        if self.once { self.end() } else { true }
    }

    /// No more comes after what is pending; false when it is over.
    pub fn end(&mut self) -> bool {
        self.ending = true;
        self.flush()
    }
}
