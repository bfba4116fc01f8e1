//! What the supervisor tells the host's event log: starts, ends, signals.
use std::collections::BTreeMap;
use std::path::PathBuf;

use minidock_core::events::{self, Event};
use minidock_core::net::live::Network;
use serde::Deserialize;

/// Section `events` of the document.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsDocument {
    /// The log's directory.
    dir: PathBuf,
    /// What every event of the container has: image, name, labels.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// The container's own events; nowhere without a log.
#[derive(Debug)]
pub struct Events {
    id: String,
    document: Option<EventsDocument>,
}

impl Events {
    /// Those of the container `id`.
    #[must_use]
    pub fn new(id: &str, document: Option<EventsDocument>) -> Self {
        Self {
            id: id.to_owned(),
            document,
        }
    }

    /// It has got another name.
    pub fn rename(&mut self, name: String) {
        if let Some(document) = &mut self.document {
            document.attributes.insert("name".to_owned(), name);
        }
    }

    /// Appends one. A log that cannot be written (a full disk) stops nothing.
    pub fn add(&self, action: &str, more: &[(&str, String)]) {
        let Some(document) = &self.document else {
            return;
        };
        let mut attributes = document.attributes.clone();
        attributes.extend(more.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
        let event = Event {
            kind: "container",
            action,
            id: &self.id,
            attributes: &attributes,
        };
        let _ = events::append(&document.dir, &event);
    }

    /// Appends one of a network: the container has come (`connect`), or gone (`disconnect`).
    pub fn add_network(&self, action: &str, network: &Network) {
        let Some(document) = &self.document else {
            return;
        };
        let attributes = [
            ("container", &self.id),
            ("name", &network.name),
            ("type", &network.driver),
        ];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.clone()));
        let event = Event {
            kind: "network",
            action,
            id: &network.id,
            attributes: &attributes.into(),
        };
        let _ = events::append(&document.dir, &event);
    }
}
