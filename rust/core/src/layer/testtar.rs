//! Archives made by hand, wrong ones too.

/// One header, then whatever is asked for.
pub struct Tar(pub Vec<u8>);

/// The fields of a header; the rest is zero.
#[derive(Clone)]
pub struct Head<'a> {
    pub kind: u8,
    pub path: &'a [u8],
    pub link: &'a [u8],
    pub mode: u32,
    pub size: u64,
    pub device: (u32, u32),
    pub gnu: bool,
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            kind: b'0',
            path: b"",
            link: b"",
            mode: 0o644,
            size: 0,
            device: (0, 0),
            gnu: false,
        }
    }
}

impl Tar {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn raw(mut self, head: &Head<'_>, patch: impl FnOnce(&mut [u8; 512])) -> Self {
        let mut block = [0; 512];
        block[..head.path.len()].copy_from_slice(head.path);
        octal(&mut block[100..108], head.mode.into());
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        octal(&mut block[124..136], head.size);
        octal(&mut block[136..148], 1_000_000_000);
        block[156] = head.kind;
        block[157..157 + head.link.len()].copy_from_slice(head.link);
        block[257..265].copy_from_slice(if head.gnu {
            b"ustar  \0"
        } else {
            b"ustar\x0000"
        });
        octal(&mut block[329..337], head.device.0.into());
        octal(&mut block[337..345], head.device.1.into());
        patch(&mut block);
        checksum(&mut block);
        self.0.extend_from_slice(&block);
        self
    }

    pub fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, path: &str, data: &[u8]) -> Self {
        let head = Head {
            path: path.as_bytes(),
            size: data.len() as u64,
            ..Head::default()
        };
        self.raw(&head, |_| {}).data(data)
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.raw(
            &Head {
                kind: b'5',
                path: path.as_bytes(),
                mode,
                ..Head::default()
            },
            |_| {},
        )
    }

    pub fn symlink(self, path: &str, link: &str) -> Self {
        let head = Head {
            kind: b'2',
            path: path.as_bytes(),
            link: link.as_bytes(),
            mode: 0o777,
            ..Head::default()
        };
        self.raw(&head, |_| {})
    }

    pub fn hardlink(self, path: &str, link: &str) -> Self {
        let head = Head {
            kind: b'1',
            path: path.as_bytes(),
            link: link.as_bytes(),
            ..Head::default()
        };
        self.raw(&head, |_| {})
    }

    /// An extended header, local (`x`) or global (`g`).
    pub fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut len = rest + 1;
            while len != rest + len.to_string().len() {
                len = rest + len.to_string().len();
            }
            data.extend_from_slice(format!("{len} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.extension(kind, &data)
    }

    /// A header of `kind` with `data`, for GNU's long names too.
    pub fn extension(self, kind: u8, data: &[u8]) -> Self {
        let head = Head {
            kind,
            path: b"././@LongLink",
            size: data.len() as u64,
            ..Head::default()
        };
        self.raw(&head, |_| {}).data(data)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub fn octal(field: &mut [u8], value: u64) {
    let text = format!("{value:0width$o}\0", width = field.len() - 1);
    field.copy_from_slice(text.as_bytes());
}

pub fn checksum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
