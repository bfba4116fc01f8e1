//! spec: a bundle's first `config.json`.
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use minidock_core::{Context, Error, Kind};
use oci_spec::runtime::Spec;

use super::features::SPEC_VERSION;
use super::options::{Given, Verb, flag, value};
use super::{Global, Outcome};

/// The verb of this file.
pub const VERBS: &[Verb] = &[Verb {
    name: "spec",
    operands: "",
    help: "write a config.json to start from",
    options: &[
        value(
            "bundle",
            Some('b'),
            "DIR",
            "the bundle [the current directory]",
        ),
        flag("rootless", None, "not supported yet"),
    ],
    command: false,
    run: spec,
}];

fn spec(_: &Global, given: &Given) -> Outcome {
    if given.has("rootless") {
        return Err(Error::new(
            Kind::Unsupported,
            "use option",
            "--rootless",
            "this version needs root",
        )
        .into());
    }
    let path = given
        .path("bundle")
        .unwrap_or(Path::new("."))
        .join("config.json");
    let shown = || path.display().to_string();
    let mut spec = Spec::default();
    spec.set_version(SPEC_VERSION.into());
    spec.set_hostname(Some("minidock".into()));
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(true));
        process.set_args(Some(vec!["sh".into()]));
        process.set_no_new_privileges(Some(true));
        // Inheritable and ambient capabilities would reach programs of users other than root (CVE-2022-24769).
        let sets = process.capabilities().clone().map(|mut sets| {
            sets.set_inheritable(None);
            sets.set_ambient(None);
            sets
        });
        process.set_capabilities(sets);
    }
    let text = serde_json::to_string_pretty(&spec)
        .map_err(|e| Error::new(Kind::Invalid, "write", shown(), e.to_string()))?;
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = file.and_then(|mut file| file.write_all((text + "\n").as_bytes()));
    written.context("write", shown)?;
    Ok(0)
}
