//! What is written down about an exec, for whoever asks for it by its id.
use std::path::PathBuf;

use minidock_core::error::Result;
use serde_json::{Value, json};

use super::request::Request;
use crate::supervise::record::{start_time, write_renamed};

/// The file; it goes with the exec if that is bound to its client, who alone knows its id.
pub struct Record {
    path: Option<PathBuf>,
    content: Value,
    keep: bool,
}

impl Record {
    /// Writes that this process starts an exec: by it the next engine finds what a killed supervisor leaves.
    ///
    /// # Errors
    /// That of the failed write.
    pub fn begin(request: &Request) -> Result<Self> {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let record = Self {
            path: request.record.clone(),
            content: json!({
                "about": request.about, "supervisor": own, "supervisor_start": start_time(own)?,
                "cgroup": format!("{}/{}", request.cgroup, request.group_name()), "pid": 0, "exit_code": null,
            }),
            keep: !request.bound,
        };
        record.write()?;
        Ok(record)
    }

    /// It is not bound to its client any more.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// It runs. A record that cannot be written costs no more than its being found.
    pub fn running(&mut self, pid: i32) {
        self.content["pid"] = pid.into();
        let _ = self.write();
    }

    /// It has ended.
    pub fn ended(&mut self, code: i32) {
        self.content["exit_code"] = code.into();
        if self.keep {
            let _ = self.write();
        }
    }

    /// The supervisor is about to end. With `forget` (the container has gone, or nothing was started) nothing stays.
    pub fn close(self, forget: bool) {
        if let Some(path) = self.path.filter(|_| forget || !self.keep) {
            let _ = std::fs::remove_file(path);
        }
    }

    fn write(&self) -> Result<()> {
        match &self.path {
            Some(path) => write_renamed(path, &self.content.to_string()),
            None => Ok(()),
        }
    }
}
