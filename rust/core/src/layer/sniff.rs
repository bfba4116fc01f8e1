//! What a file that is no tar archive may be instead, for the message.

/// ", it looks like …", or nothing.
pub fn looks_like(head: &[u8]) -> &'static str {
    const MAGIC: &[(usize, &[u8], &str)] = &[
        (0, b"\xfd7zXZ\0", ", it looks like xz data"),
        (0, b"BZh", ", it looks like bzip2 data"),
        (0, b"\x1f\x8b", ", it looks like gzip data"),
        (0, b"\x28\xb5\x2f\xfd", ", it looks like zstd data"),
        (0, b"\x1f\x9d", ", it looks like compress (.Z) data"),
        (0, b"\x04\x22\x4d\x18", ", it looks like lz4 data"),
        (0, b"LZIP", ", it looks like lzip data"),
        (0, b"7z\xbc\xaf\x27\x1c", ", it looks like a 7-zip archive"),
        (0, b"PK\x03\x04", ", it looks like a zip archive"),
        (0, b"Rar!", ", it looks like a rar archive"),
        (
            0,
            b"!<arch>\n",
            ", it looks like a Debian package or ar archive",
        ),
        (0, b"\xed\xab\xee\xdb", ", it looks like an rpm package"),
        (0, b"070701", ", it looks like a cpio archive"),
        (0, b"070707", ", it looks like a cpio archive"),
        (0, b"hsqs", ", it looks like a squashfs image"),
        (0, b"QFI\xfb", ", it looks like a qcow2 disk image"),
        (0, b"\x7fELF", ", it looks like an ELF program"),
        (0, b"#!", ", it looks like a script"),
        (0, b"%PDF", ", it looks like a PDF document"),
        (510, b"\x55\xaa", ", it looks like a disk image"),
    ];
    for (at, magic, text) in MAGIC {
        if head.get(*at..).is_some_and(|rest| rest.starts_with(magic)) {
            return text;
        }
    }
    let start = head
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(0);
    let lower: Vec<u8> = head[start..]
        .iter()
        .take(16)
        .map(u8::to_ascii_lowercase)
        .collect();
    if lower.starts_with(b"<!doctype") || lower.starts_with(b"<html") {
        return ", it looks like a web page";
    }
    if lower.starts_with(b"{") || lower.starts_with(b"[") {
        return ", it looks like JSON";
    }
    if head
        .iter()
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    {
        return ", it looks like text";
    }
    ""
}
