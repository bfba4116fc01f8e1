//! `minidock-runtime view`: mounts the files of a container that does not run where nobody sees them, and hands them over.
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use minidock_core::error::{Context, Error, Kind, Result};
use minidock_core::path::clean;
use minidock_core::process::Failure;
use minidock_core::rootfs::{self, BindSource, OfflineMount, Origin, Rootfs};
use minidock_core::sys;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::net::{recv, sendmsg};
use serde::Deserialize;

use crate::shelter;
use crate::supervise::control;
use crate::supervise::document::{IdMapDocument, RootfsDocument};
use crate::supervise::sources::SourceDocument;

/// The longest request.
const LONGEST: u64 = 4 << 20;

/// What comes on standard input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    rootfs: RootfsDocument,
    /// The container's mounts, in their order.
    #[serde(default)]
    mounts: Vec<MountDocument>,
    /// What mounts show instead of their source.
    #[serde(default)]
    sources: Vec<SourceDocument>,
    /// An SELinux context.
    #[serde(default)]
    label: Option<String>,
    /// It will be written to: nobody else has it mounted.
    writable: bool,
}

/// One of the container's mounts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MountDocument {
    /// Where, in the container.
    destination: PathBuf,
    /// What, of the host.
    source: PathBuf,
    /// With what is mounted below it.
    recursive: bool,
    #[serde(default)]
    read_only: bool,
    /// The destination is made where it is missing.
    #[serde(default)]
    create: bool,
    /// Of its files.
    #[serde(default)]
    idmap: Option<IdMapDocument>,
}

/// Without `writable` nothing else than a look: the container may be started meanwhile.
fn read_only(origin: Origin) -> Origin {
    match origin {
        Origin::Overlay { mut overlay, path } => {
            let upper = overlay.upper.take().map(|(upper, _)| upper);
            let lower = upper.into_iter().chain(overlay.lower).collect();
            Origin::Layers { lower, path }
        }
        other => other,
    }
}

/// The mounts with their sources.
fn mounts(
    documents: Vec<MountDocument>,
    sources: Vec<SourceDocument>,
    writable: bool,
) -> Result<Vec<OfflineMount>> {
    for source in &sources {
        source.check()?;
    }
    let sources = sources.into_iter().map(SourceDocument::into_source);
    let mut sources: Vec<BindSource> = sources.collect();
    let mounts = documents.into_iter().map(|document| {
        let origin = sources
            .iter()
            .position(|s| s.is_for(&clean(&document.destination)))
            .map(|at| sources.remove(at).origin)
            .map(|origin| match document.idmap {
                // Only as one overlay can the two kinds of owners be shown.
                None if !writable => read_only(origin),
                _ => origin,
            });
        OfflineMount {
            destination: document.destination,
            source: document.source,
            recursive: document.recursive,
            origin,
            read_only: document.read_only,
            create: document.create,
            idmap: document.idmap.map(IdMapDocument::into_map),
        }
    });
    Ok(mounts.collect())
}

impl Request {
    fn read() -> Result<Self> {
        let mut text = Vec::new();
        std::io::stdin()
            .take(LONGEST)
            .read_to_end(&mut text)
            .context("read", || "request")?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::new(Kind::Invalid, "read", "request", e.to_string()))
    }

    fn mount(self) -> Result<OwnedFd> {
        let mut rootfs = self.rootfs.into_rootfs();
        if let Rootfs::Overlay(layers) = &mut rootfs {
            // Otherwise the end of the mount waits for the disk.
            layers.volatile = true;
            // Layers with the image's owners and one with the host's can be stacked in one way only.
            if !self.writable
                && layers.idmap.is_none()
                && let Some((upper, _)) = layers.upper.take()
            {
                layers.lower.insert(0, upper);
            }
        }
        let mounts = mounts(self.mounts, self.sources, self.writable)?;
        rootfs::offline(&rootfs, &mounts, self.label.as_deref())
    }
}

/// Runs the verb, until the client closes its end of descriptor 3.
pub fn main(_: &[OsString]) -> ExitCode {
    let client = match shelter::begin("view", sys::fork) {
        Ok(client) => client,
        Err(code) => return code,
    };
    let top = match Request::read().and_then(Request::mount) {
        Ok(top) => top,
        Err(error) => {
            control::tell(Some(&client), &control::error(&Failure::from(error)));
            return ExitCode::from(125);
        }
    };
    hand_over(&client, top);
    // Nothing more is asked for: this waits for the end.
    while matches!(
        recv(&client, &mut [0u8; 64][..], RecvFlags::empty()),
        Ok((1.., _)) | Err(Errno::INTR)
    ) {}
    ExitCode::SUCCESS
}

/// Sends the tree, and which process holds its mounts.
fn hand_over(client: &OwnedFd, top: OwnedFd) {
    let text = serde_json::json!({"event": "mounted", "pid": std::process::id()}).to_string();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let fds = [top.as_fd()];
    rights.push(SendAncillaryMessage::ScmRights(&fds));
    let packet = [std::io::IoSlice::new(text.as_bytes())];
    // A client that has gone is found out by the wait.
    let _ = sendmsg(client, &packet, &mut rights, SendFlags::NOSIGNAL);
}
