//! Events: appended to a data root's `events` directory.
use std::collections::BTreeMap;
use std::path::PathBuf;

use minidock_core::events::{self, Event};
use pyo3::prelude::*;

use crate::error::raise;

/// Appends one event; see the stub.
#[pyfunction]
pub fn event_append(
    py: Python<'_>,
    dir: PathBuf,
    kind: &str,
    action: &str,
    id: &str,
    attributes: BTreeMap<String, String>,
) -> PyResult<()> {
    py.detach(|| {
        let event = Event {
            kind,
            action,
            id,
            attributes: &attributes,
        };
        events::append(&dir, &event)
    })
    .map_err(|e| raise(&e))
}
