//! The one error type of minidock's Rust code.
use std::error::Error as StdError;
use std::fmt;

/// What went wrong, by the class that a caller branches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The named thing does not exist.
    NotFound,
    /// It exists already, or is in a state that excludes the operation.
    Conflict,
    /// The caller's value makes no sense.
    Invalid,
    /// This kernel or host cannot do it.
    Unsupported,
    /// Permission denied by the kernel or by a security rule of ours.
    Denied,
    /// In use; trying later may work.
    Busy,
    /// Stored or received data is damaged or hostile.
    Corrupt,
    /// A deadline passed.
    Timeout,
    /// A limit of ours or of the host was reached.
    Limit,
    /// Any other failure of a system call, by errno.
    System(i32),
}

impl Kind {
    /// The kind's name as it crosses the boundary to Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::Busy => "busy",
            Self::Corrupt => "corrupt",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::System(_) => "system",
        }
    }

    /// The class of an errno.
    #[must_use]
    pub fn from_errno(errno: i32) -> Self {
        match errno {
            libc::ENOENT => Self::NotFound,
            libc::EEXIST => Self::Conflict,
            libc::EPERM | libc::EACCES => Self::Denied,
            libc::EBUSY => Self::Busy,
            libc::ENOSYS | libc::EOPNOTSUPP => Self::Unsupported,
            libc::ETIMEDOUT => Self::Timeout,
            other => Self::System(other),
        }
    }
}

/// A failure: what was done, on what, of which kind, and why.
///
/// Its text is one line in lower case without a full stop: `op subject: cause`.
#[derive(Debug)]
pub struct Error {
    /// What was being done, as a verb phrase ("mount", "open").
    pub op: &'static str,
    /// On what: a path, name or value.
    pub subject: String,
    /// The class of failure.
    pub kind: Kind,
    /// The errno, when a system call failed.
    pub errno: Option<i32>,
    /// The cause.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure that no system call reported; `why` explains it.
    pub fn new(
        kind: Kind,
        op: &'static str,
        subject: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            op,
            subject: subject.into(),
            kind,
            errno: None,
            source: Some(why.into().into()),
        }
    }

    /// A failed system call.
    pub fn errno(op: &'static str, subject: impl Into<String>, errno: i32) -> Self {
        let source = std::io::Error::from_raw_os_error(errno);
        Self {
            op,
            subject: subject.into(),
            kind: Kind::from_errno(errno),
            errno: Some(errno),
            source: Some(Box::new(source)),
        }
    }

    /// A failed operation of the standard library.
    pub fn io(op: &'static str, subject: impl Into<String>, error: std::io::Error) -> Self {
        let errno = error.raw_os_error();
        let kind = errno.map_or(Kind::System(libc::EIO), Kind::from_errno);
        Self {
            op,
            subject: subject.into(),
            kind,
            errno,
            source: Some(Box::new(error)),
        }
    }

    /// The same error under another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        match &self.source {
            Some(source) => match (source.downcast_ref::<std::io::Error>(), self.errno) {
                // "Permission denied (os error 13)" → "permission denied"
                (Some(_), Some(errno)) => write!(f, ": {}", strerror(errno)),
                _ => write!(f, ": {source}"),
            },
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|s| s.as_ref() as &(dyn StdError + 'static))
    }
}

/// The kernel's words for an errno, first letter in lower case.
fn strerror(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// Turns a system call's error into ours, naming what was done on what.
pub trait Context<T> {
    /// `subject` is computed only on failure.
    fn context<S: Into<String>>(self, op: &'static str, subject: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn context<S: Into<String>>(self, op: &'static str, subject: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::errno(op, subject(), e.raw_os_error()))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context<S: Into<String>>(self, op: &'static str, subject: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::errno(op, subject(), e as i32))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context<S: Into<String>>(self, op: &'static str, subject: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::io(op, subject(), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_operation_subject_and_cause() {
        let e = Error::errno("open", "/etc/x", libc::EACCES);
        assert_eq!(e.to_string(), "open /etc/x: permission denied");
        assert_eq!(e.kind, Kind::Denied);
        let e = Error::new(Kind::Invalid, "parse size", "12q", "unknown unit");
        assert_eq!(e.to_string(), "parse size 12q: unknown unit");
    }
}
