//! Starting the supervisor of one more process in a running container.
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use serde_json::json;

use super::client::Supervisor;
use super::spawn::Spawn;
use crate::error::{Error, Result};

/// Part of a request in one packet: all that a new socket holds without a reader is more.
const PACKET: usize = 32 * 1024;

impl Spawn<'_> {
    /// Starts the supervisor of an exec in the container that `bundle` describes; `request` is its JSON
    /// (docs/supervisor.md). Dropping the client ends an exec that is bound to it.
    pub fn spawn_exec(&self, request: &[u8]) -> Result<Supervisor> {
        let supervisor = self.spawn_verb(c"supervise-exec")?;
        for packet in request.chunks(PACKET) {
            loop {
                match send(supervisor.socket(), packet, SendFlags::NOSIGNAL) {
                    Ok(_) => break,
                    Err(Errno::INTR) => {}
                    // It has ended, perhaps with an error that it has told: the wait for its first word finds out.
                    Err(Errno::PIPE | Errno::CONNRESET) => return Ok(supervisor),
                    Err(e) => {
                        let subject = self.bundle.display().to_string();
                        return Err(Error::errno(
                            "send to supervisor",
                            subject,
                            e.raw_os_error(),
                        ));
                    }
                }
            }
        }
        Ok(supervisor)
    }
}

impl Supervisor {
    /// Lets an exec live on when its client goes.
    pub fn release(&self) -> Result<()> {
        self.channel.send(&json!({"op": "release"}))
    }
}
