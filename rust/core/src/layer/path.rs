//! Paths of an archive, as bytes relative to its root: components joined by `/`, none empty, none `.` or `..`.
use super::limits::{Limits, exceeded};
use crate::{Error, Kind, Result};

/// The longest file name of Linux.
const NAME_MAX: usize = 255;

/// A path of the archive in its only form; empty for the root.
///
/// `..` is taken away together with the component before it, as Docker does, whatever that component is on disk.
///
/// # Errors
/// `Denied` for a path that leaves the root, `Corrupt` for NUL or an empty path, `Limit` for one too long or deep.
pub fn clean(raw: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    if raw.is_empty() {
        return Err(Error::new(
            Kind::Corrupt,
            "unpack",
            "layer",
            "entry without a name",
        ));
    }
    if raw.len() > limits.path {
        return Err(exceeded("path", format!("path of {} bytes", raw.len())));
    }
    if raw.contains(&0) {
        return Err(Error::new(
            Kind::Corrupt,
            "unpack",
            show(raw),
            "NUL in a path",
        ));
    }
    let mut out: Vec<u8> = Vec::with_capacity(raw.len());
    let mut depth = 0;
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if depth == 0 {
                    return Err(Error::new(
                        Kind::Denied,
                        "unpack",
                        show(raw),
                        "path leaves the layer",
                    ));
                }
                depth -= 1;
                let keep = out.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                out.truncate(keep);
            }
            name => {
                if name.len() > NAME_MAX {
                    return Err(exceeded("path", format!("name of {} bytes", name.len())));
                }
                depth += 1;
                if depth > limits.depth {
                    return Err(exceeded(
                        "depth",
                        format!("path of more than {} parts", limits.depth),
                    ));
                }
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(name);
            }
        }
    }
    Ok(out)
}

/// Directory and last component.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// The components.
pub fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
}

/// A path for a message: at most 200 bytes, control characters escaped.
pub fn show(path: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(&path[..path.len().min(200)])
        .chars()
        .flat_map(|c| {
            let escape = c.is_control();
            escape
                .then(|| c.escape_default())
                .into_iter()
                .flatten()
                .chain((!escape).then_some(c))
        })
        .collect();
    if path.len() > 200 {
        format!("{text}...")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(raw: &str) -> String {
        String::from_utf8(clean(raw.as_bytes(), &Limits::default()).unwrap()).unwrap()
    }

    #[test]
    fn one_form() {
        assert_eq!(ok("./a//b/./c/"), "a/b/c");
        assert_eq!(ok("/etc/passwd"), "etc/passwd");
        assert_eq!(ok("a/../b"), "b");
        assert_eq!(ok("a/b/../../c"), "c");
        for root in [".", "./", "/", "a/.."] {
            assert_eq!(ok(root), "");
        }
        assert_eq!(ok("..a/b.."), "..a/b..");
    }

    #[test]
    fn hostile() {
        let limits = Limits {
            depth: 3,
            ..Limits::default()
        };
        let kind = |raw: &[u8]| clean(raw, &limits).unwrap_err().kind;
        assert_eq!(kind(b""), Kind::Corrupt);
        assert_eq!(kind(b"a\0b"), Kind::Corrupt);
        for escape in [&b".."[..], b"../a", b"/..", b"a/../..", b"a/../../b"] {
            assert_eq!(kind(escape), Kind::Denied);
        }
        assert_eq!(kind(b"1/2/3/4"), Kind::Limit);
        assert_eq!(kind(&[b'a'; 256]), Kind::Limit);
        assert_eq!(kind(&b"a/".repeat(3000)), Kind::Limit);
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(show(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(show(&[b'x'; 300]).len(), 203);
    }
}
