//! Messages: on stderr, or in the file that `--log` names, in a form that engines parse.
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use minidock_core::{Context, Result};
use serde_json::json;

use super::options;
use crate::clock;

/// Levels, most important first.
const LEVELS: [&str; 4] = ["error", "warning", "info", "debug"];

/// Where messages go.
#[derive(Debug)]
pub struct Log {
    file: Option<File>,
    json: bool,
    level: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            file: None,
            json: false,
            level: 1,
        }
    }
}

impl Log {
    /// Sends messages to a file, in `text` (the default) or `json`.
    pub fn open(&mut self, path: &Path, format: Option<&OsStr>) -> Result<()> {
        self.json = match format.and_then(OsStr::to_str) {
            None if format.is_none() => false,
            Some("text") => false,
            Some("json") => true,
            _ => return Err(options::invalid("--log-format", "neither text nor json")),
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .open(path);
        self.file = Some(file.context("open log", || path.display().to_string())?);
        Ok(())
    }

    /// Sets the least important level that is written.
    pub fn set_level(&mut self, name: &str) -> Result<()> {
        let name = if name == "warn" { "warning" } else { name };
        let found = LEVELS.iter().position(|level| *level == name);
        self.level = found
            .ok_or_else(|| options::invalid("--log-level", format!("{name:?} is no level")))?;
        Ok(())
    }

    /// Whether messages go to a file.
    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Writes one message. Never fails: there is nowhere to report it.
    pub fn write(&self, level: &str, text: &str) {
        if LEVELS
            .iter()
            .position(|l| *l == level)
            .is_none_or(|at| at > self.level)
        {
            return;
        }
        let Some(mut file) = self.file.as_ref() else {
            let prefix = if level == "error" {
                String::new()
            } else {
                format!("{level}: ")
            };
            let _ = writeln!(std::io::stderr(), "minidock-runtime: {prefix}{text}");
            return;
        };
        let line = if self.json {
            json!({"level": level, "msg": text, "time": clock::now()}).to_string()
        } else {
            format!("time=\"{}\" level={level} msg={text:?}", clock::now())
        };
        // One write: appends of several processes do not mix.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_log_has_one_object_per_line() {
        let path = std::env::temp_dir().join(format!("minidock-log-{}", std::process::id()));
        let mut log = Log::default();
        log.open(&path, Some(OsStr::new("json"))).unwrap();
        log.write("error", "a \"quoted\"\nline");
        log.write("info", "too much");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (line["level"].as_str(), line["msg"].as_str()),
            (Some("error"), Some("a \"quoted\"\nline"))
        );
        assert!(log.open(&path, Some(OsStr::new("xml"))).is_err());
        assert!(log.set_level("loud").is_err());
    }
}
