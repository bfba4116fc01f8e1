//! Checked paths below a hierarchy's root.
use crate::{Error, Kind, Result};

/// A group's path below the root of each hierarchy, without leading slash: `docker/ID`.
///
/// Never empty, never with `.`, `..`, an empty component, NUL or newline, so it cannot leave the mount.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CgroupPath(String);

/// The kernel's limit on a group's name (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// Room is left for mount point and file name within `PATH_MAX`.
const PATH_MAX: usize = 3072;

impl CgroupPath {
    /// Checks `linux.cgroupsPath` of a runtime-spec document. Absolute and relative paths both start at the root of
    /// the hierarchy's mount, as in crun.
    ///
    /// # Errors
    /// `invalid` for the empty path and the root, `.` and `..`, NUL, newline, and names or paths that are too long.
    pub fn new(path: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Err(Error::new(
                Kind::Invalid,
                "use cgroup path",
                format!("{path:?}"),
                why,
            ))
        };
        let mut clean = String::with_capacity(path.len());
        for name in path.split('/').filter(|n| !n.is_empty()) {
            if name == "." || name == ".." {
                return invalid("it may not contain \".\" or \"..\"");
            }
            if name.len() > NAME_MAX {
                return invalid("a name in it is longer than 255 bytes");
            }
            if name.bytes().any(|b| b == 0 || b == b'\n') {
                return invalid("it may not contain NUL or newline");
            }
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(name);
        }
        if clean.is_empty() {
            return invalid("a container needs a group of its own below the root");
        }
        if clean.len() > PATH_MAX {
            return invalid("it is longer than 3072 bytes");
        }
        Ok(Self(clean))
    }

    /// The path, without leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Every ancestor below the root, topmost first, then the path itself: `a`, `a/b`, `a/b/c`.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        let ends = self
            .0
            .match_indices('/')
            .map(|(at, _)| at)
            .chain(std::iter::once(self.0.len()));
        ends.map(|end| &self.0[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cleans_slashes() {
        assert_eq!(
            CgroupPath::new("/docker//abc/").unwrap().as_str(),
            "docker/abc"
        );
        let path = CgroupPath::new("a/b/c").unwrap();
        assert_eq!(path.prefixes().collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
    }

    #[test]
    fn refuses_escapes() {
        for bad in [
            "",
            "/",
            "..",
            "/a/../../b",
            "a/./b",
            "a\nb",
            "a\0b",
            &"x".repeat(256),
            &"x/".repeat(2000),
        ] {
            let error = CgroupPath::new(bad).unwrap_err();
            assert_eq!(error.kind, Kind::Invalid, "{bad:?}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn never_leaves_the_root(text in "[a./\n\0]{0,20}") {
            if let Ok(path) = CgroupPath::new(&text) {
                prop_assert!(path.as_str().split('/').all(|n| !n.is_empty() && n != "." && n != ".."));
                prop_assert_eq!(path.prefixes().last(), Some(path.as_str()));
            }
        }
    }
}
