//! The loop of a client with a user: copies streams, looks for the detach keys, waits for the end.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};

use super::Interrupt;
use super::client::Supervisor;
use crate::error::{Error, Kind, Result};

const CHUNK: usize = 16 * 1024;
/// Signals are looked for this often even when none interrupted the wait.
const SLICE: Duration = Duration::from_secs(1);

/// A sequence of keys that detaches the client, as Docker's `--detach-keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Keys {
    /// Parses a comma-separated list of single characters or `ctrl-X` (X: a letter or one of `@ [ \ ] ^ _`).
    pub fn parse(text: &str) -> Result<Self> {
        let sequence = text
            .split(',')
            .map(key)
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| {
                Error::new(
                    Kind::Invalid,
                    "parse detach keys",
                    text,
                    "write single characters or ctrl-X, separated by commas",
                )
            })?;
        Ok(Self {
            sequence,
            matched: 0,
        })
    }

    /// Takes what the user typed; gives what belongs to the container, and whether the sequence is complete.
    ///
    /// A begun sequence is held back until it is clear that it is none.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte == self.sequence[self.matched] {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.sequence[..self.matched]);
            self.matched = usize::from(byte == self.sequence[0]);
            if self.matched == 0 {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

fn key(text: &str) -> Option<u8> {
    if let Some(name) = text.strip_prefix("ctrl-") {
        return match name.as_bytes() {
            [c] if c.is_ascii_lowercase() || c.is_ascii_uppercase() => {
                Some(c.to_ascii_lowercase() - b'a' + 1)
            }
            [c @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Some(c - b'@'),
            _ => None,
        };
    }
    match text.as_bytes() {
        [c] if c.is_ascii() => Some(*c),
        _ => None,
    }
}

/// One direction of copying: from a descriptor through a buffer into another one.
struct Copy<'a> {
    from: Option<BorrowedFd<'a>>,
    to: BorrowedFd<'a>,
    pending: Vec<u8>,
}

impl Copy<'_> {
    /// What to wait for: a full buffer waits for its drain.
    fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        if self.pending.is_empty() {
            self.from.map(|fd| (fd, PollFlags::IN))
        } else {
            Some((self.to, PollFlags::OUT))
        }
    }
}

impl Supervisor {
    /// Copies `stdin` into the stdin pipe and the stdout and stderr pipes to `outputs`, until the container has exited.
    ///
    /// Streams that were not made as pipes are left alone (the supervisor copies them itself). Gives the `exited`
    /// packet, or None when the user typed `keys`. The borrowed descriptors keep their modes: they are only read
    /// or written when `poll` says so.
    pub fn interact(
        &self,
        stdin: Option<BorrowedFd<'_>>,
        outputs: [Option<BorrowedFd<'_>>; 2],
        mut keys: Option<Keys>,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let pipes = std::mem::take(&mut *self.pipes());
        let (mut into, out, err) = (pipes.stdin, pipes.stdout, pipes.stderr);
        let mut outward: Vec<Copy<'_>> = [(&out, outputs[0]), (&err, outputs[1])]
            .into_iter()
            .filter_map(|(from, to)| {
                Some(Copy {
                    from: Some(from.as_ref()?.as_fd()),
                    to: to?,
                    pending: Vec::new(),
                })
            })
            .collect();
        let mut source = stdin.filter(|_| into.is_some());
        if source.is_none() {
            into = None;
        }
        let mut typed: Vec<u8> = Vec::new();
        let mut buffer = vec![0; CHUNK];
        loop {
            let exited = {
                let mut heard = self.channel.heard();
                self.channel.receive(&mut heard)?;
                if heard.closed && heard.exited.is_none() {
                    return Err(self.channel.gone(&heard));
                }
                heard.exited.clone()
            };
            if exited.is_some() {
                for copy in &mut outward {
                    if !empty(copy, &mut buffer, interrupt)? {
                        return Err(self.channel.interrupted());
                    }
                }
                return Ok(exited);
            }
            let ready = self.wait_for_streams(&into, source, !typed.is_empty(), &outward);
            let (type_ready, out_ready) = match ready {
                Ok(ready) => ready,
                Err(Errno::INTR) => {
                    if interrupt() {
                        return Err(self.channel.interrupted());
                    }
                    continue;
                }
                Err(e) => return Err(Error::errno("wait for container", "", e.raw_os_error())),
            };
            if !type_ready && !out_ready.contains(&true) && interrupt() {
                return Err(self.channel.interrupted());
            }
            for (copy, _) in outward
                .iter_mut()
                .zip(out_ready)
                .filter(|(_, ready)| *ready)
            {
                step(copy, &mut buffer)?;
            }
            if !type_ready {
                continue;
            }
            if typed.is_empty()
                && let Some(fd) = source
            {
                match read(fd, &mut buffer) {
                    // The user's terminal has hung up (EIO), or the input has ended.
                    Ok(0) | Err(Errno::IO) => (source, into) = (None, None),
                    Ok(n) => {
                        let (passed, detach) = match &mut keys {
                            Some(keys) => keys.filter(&buffer[..n]),
                            None => (buffer[..n].to_vec(), false),
                        };
                        typed = passed;
                        if detach {
                            return Ok(None);
                        }
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(e) => return Err(Error::errno("read", "stdin", e.raw_os_error())),
                }
            }
            if let Some(fd) = &into
                && !typed.is_empty()
            {
                match write(fd, &typed) {
                    Ok(n) => drop(typed.drain(..n)),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // The container has closed its stdin.
                    Err(Errno::PIPE) => {
                        (source, into) = (None, None);
                        typed.clear();
                    }
                    Err(e) => return Err(Error::errno("write", "stdin", e.raw_os_error())),
                }
            }
        }
    }

    /// Which of the user's input and the outward copies can go on.
    fn wait_for_streams(
        &self,
        into: &Option<OwnedFd>,
        source: Option<BorrowedFd<'_>>,
        pending: bool,
        outward: &[Copy<'_>],
    ) -> rustix::io::Result<(bool, Vec<bool>)> {
        let mut fds = vec![PollFd::from_borrowed_fd(
            self.channel.socket(),
            PollFlags::IN,
        )];
        let input = match (into, source) {
            (Some(into), _) if pending => Some((into.as_fd(), PollFlags::OUT)),
            (Some(_), Some(source)) => Some((source, PollFlags::IN)),
            _ => None,
        };
        let interests = || std::iter::once(input).chain(outward.iter().map(Copy::interest));
        fds.extend(
            interests()
                .flatten()
                .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)),
        );
        let slice: Timespec = SLICE.try_into().map_err(|_| Errno::INVAL)?;
        poll(&mut fds, Some(&slice))?;
        let mut ready = fds[1..].iter().map(|fd| !fd.revents().is_empty());
        let mut flags: Vec<bool> = interests()
            .map(|i| i.is_some() && ready.next() == Some(true))
            .collect();
        let typed = flags.remove(0);
        Ok((typed, flags))
    }
}

/// One read or one write of a copy.
fn step(copy: &mut Copy<'_>, buffer: &mut [u8]) -> Result<()> {
    if copy.pending.is_empty()
        && let Some(from) = copy.from
    {
        match read(from, &mut *buffer) {
            Ok(0) => copy.from = None,
            Ok(n) => copy.pending.extend_from_slice(&buffer[..n]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(e) => return Err(Error::errno("read", "output", e.raw_os_error())),
        }
    }
    if !copy.pending.is_empty() {
        match write(copy.to, &copy.pending) {
            Ok(n) => drop(copy.pending.drain(..n)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The user's terminal or pipe has gone: the container must not block on it.
            Err(Errno::PIPE | Errno::IO) => copy.pending.clear(),
            Err(e) => return Err(Error::errno("write", "output", e.raw_os_error())),
        }
    }
    Ok(())
}

/// Copies what is left after the container has ended; false when interrupted.
fn empty(copy: &mut Copy<'_>, buffer: &mut [u8], interrupt: Interrupt<'_>) -> Result<bool> {
    loop {
        let before = copy.pending.len();
        step(copy, buffer)?;
        if copy.pending.is_empty() {
            let Some(from) = copy.from else {
                return Ok(true);
            };
            let mut fds = [PollFd::from_borrowed_fd(from, PollFlags::IN)];
            let nothing = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            if !matches!(poll(&mut fds, Some(&nothing)), Ok(n) if n > 0) {
                return Ok(true);
            }
        } else if copy.pending.len() == before {
            let mut fds = [PollFd::from_borrowed_fd(copy.to, PollFlags::OUT)];
            let slice: Timespec = SLICE.try_into().unwrap_or_default();
            if !matches!(poll(&mut fds, Some(&slice)), Ok(n) if n > 0) && interrupt() {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_key_names() {
        assert_eq!(Keys::parse("ctrl-p,ctrl-q").unwrap().sequence, [16, 17]);
        assert_eq!(Keys::parse("a").unwrap().sequence, [b'a']);
        assert_eq!(
            Keys::parse("ctrl-@,ctrl-[,ctrl-_").unwrap().sequence,
            [0, 27, 31]
        );
        for bad in ["", "ctrl-", "ab", "ctrl-p,,", "ctrl-1", "é"] {
            assert_eq!(Keys::parse(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_begun_sequence_is_held_back_and_given_up_whole() {
        let mut keys = Keys::parse("ctrl-p,ctrl-q").unwrap();
        assert_eq!(keys.filter(b"ls\n\x10"), (b"ls\n".to_vec(), false));
        assert_eq!(keys.filter(b"x"), (b"\x10x".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.filter(b"\x11rest"), (Vec::new(), true));
    }
}
