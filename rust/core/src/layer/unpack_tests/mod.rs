mod limits;
mod links;
mod metadata;
mod paths;
mod whiteouts;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::layer::testdir::TestDir;
use crate::layer::testtar::{Head, Tar};

/// A target beside a directory that nothing may touch.
struct Case {
    tmp: TestDir,
}

impl Case {
    fn new() -> Self {
        let tmp = TestDir::new();
        fs::create_dir(tmp.path().join("t")).unwrap();
        fs::create_dir(tmp.path().join("marker")).unwrap();
        fs::write(tmp.path().join("marker/keep"), b"untouched").unwrap();
        for (path, mode) in [("marker", 0o700), ("marker/keep", 0o600)] {
            fs::set_permissions(tmp.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { tmp }
    }

    fn marker(&self) -> String {
        self.tmp.path().join("marker").display().to_string()
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.tmp.path().join("t").join(path)
    }

    fn unpack_with(&self, tar: &[u8], options: &Options) -> Result<u64> {
        let before = self.state();
        let fd = OwnedFd::from(fs::File::open(self.at("")).unwrap());
        let result = unpack_bytes(tar, fd, options);
        assert_eq!(self.state(), before, "the marker was touched");
        result
    }

    fn unpack(&self, tar: &[u8]) -> Result<u64> {
        self.unpack_with(tar, &Options::default())
    }

    fn state(&self) -> Vec<(u32, i64, i64, u64, u64, Vec<u8>)> {
        let marker = self.tmp.path().join("marker");
        let mut names: Vec<_> = fs::read_dir(&marker)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.push(marker);
        names.sort();
        names
            .iter()
            .map(|path| {
                let meta = fs::symlink_metadata(path).unwrap();
                let data = fs::read(path).unwrap_or_default();
                (
                    meta.mode(),
                    meta.mtime(),
                    meta.mtime_nsec(),
                    meta.nlink(),
                    meta.ino(),
                    data,
                )
            })
            .collect()
    }
}

fn refused(tar: &[u8]) -> Kind {
    Case::new().unpack(tar).unwrap_err().kind
}

fn opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value[..])
        .is_ok_and(|n| value[..n] == *b"y")
}
