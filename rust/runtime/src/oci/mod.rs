//! The OCI runtime command line: the verbs and flags of runc, on the runtime-spec's life cycle.
//!
//! What is not to the letter of the specification is listed in `docs/spec-conformance.md`.
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minidock_core::process::Failure;
use minidock_core::{Error, Kind, Result};

pub(crate) mod bundle;
mod console;
mod container;
mod exec;
mod features;
mod foreground;
mod lifecycle;
mod list;
mod log;
mod options;
mod process;
mod state;
mod template;
mod update;

use log::Log;
use options::{Given, Opt, Verb, flag, value};

/// The exit code, or why there is none.
pub type Outcome = std::result::Result<u8, Failure>;

/// Where the state of containers is kept unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/minidock-runtime";

/// What the options before the verb say.
pub struct Global {
    /// The directory of all containers' state, absolute.
    root: PathBuf,
    log: Log,
}

impl Global {
    /// Reports what did not stop the container.
    fn warn(&self, text: &str) {
        self.log.write("warning", text);
    }
}

const GLOBAL: &[Opt] = &[
    value(
        "root",
        None,
        "DIR",
        "where the state of containers is kept [/run/minidock-runtime]",
    ),
    value("log", None, "FILE", "append messages to FILE, too"),
    value(
        "log-format",
        None,
        "FORMAT",
        "format of that file: text or json [text]",
    ),
    value(
        "log-level",
        None,
        "LEVEL",
        "debug, info, warning or error [warning]",
    ),
    flag("debug", None, "the same as --log-level debug"),
    flag(
        "systemd-cgroup",
        None,
        "not supported: groups are made in the cgroup file system",
    ),
    value(
        "criu",
        None,
        "PATH",
        "not supported: there is no checkpoint",
    ),
    value(
        "rootless",
        None,
        "BOOL",
        "true is not supported yet; false and auto are",
    ),
    flag("version", Some('v'), "print the version"),
];

/// What cannot be done is said by the verb, not by the parser.
const UNSUPPORTED: &[Verb] = &[no_checkpoint("checkpoint"), no_checkpoint("restore")];

const fn no_checkpoint(name: &'static str) -> Verb {
    Verb {
        name,
        operands: "ID",
        help: "not supported",
        options: &[],
        command: true,
        run: |_, _| {
            let why = "minidock has no checkpoints";
            Err(Error::new(Kind::Unsupported, "checkpoint and restore", "", why).into())
        },
    }
}

fn verbs() -> impl Iterator<Item = &'static Verb> {
    let all = [
        lifecycle::VERBS,
        exec::VERBS,
        list::VERBS,
        update::VERBS,
        features::VERBS,
        template::VERBS,
        UNSUPPORTED,
    ];
    all.into_iter().flatten()
}

/// Runs the command line `args` (without the program's name).
pub fn main(args: &[OsString]) -> ExitCode {
    let mut log = Log::default();
    match command(args, &mut log) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let text = failure.to_string();
            log.write("error", &text);
            // Without a log file the message has been printed there already.
            if log.is_file() {
                let _ = writeln!(std::io::stderr(), "minidock-runtime: {text}");
            }
            // runc's own failures are 1; 126 and 127 tell more about a command.
            ExitCode::from(if failure.exit_code == 125 {
                1
            } else {
                failure.exit_code
            })
        }
    }
}

fn command(args: &[OsString], log: &mut Log) -> Outcome {
    let mut parser = lexopt::Parser::from_args(args);
    let given = Given::read(&mut parser, GLOBAL, true)?;
    if let Some(path) = given.path("log") {
        log.open(path, given.last("log-format"))?;
    }
    if given.has("debug") {
        log.set_level("debug")?;
    } else if let Some(level) = given.text("log-level")? {
        log.set_level(&level)?;
    }
    if given.has("help") {
        return print(&options::help(verbs(), GLOBAL));
    }
    if given.has("version") {
        return print(&version());
    }
    check_unsupported(&given)?;
    let Some(name) = given.operands.first() else {
        let _ = print(&options::help(verbs(), GLOBAL));
        return Err(options::invalid("", "a verb is missing").into());
    };
    let Some(verb) = verbs().find(|verb| verb.name == name) else {
        if name == "help" {
            return print(&options::help(verbs(), GLOBAL));
        }
        return Err(options::invalid(name.to_string_lossy(), "no such verb; see --help").into());
    };
    let root = options::absolute(given.path("root").unwrap_or(Path::new(DEFAULT_ROOT)))?;
    let mut given = Given::read(&mut parser, verb.options, verb.command)?;
    if given.has("help") {
        return print(&options::verb_help(verb));
    }
    if verb.command {
        let rest = parser
            .raw_args()
            .map_err(|e| options::invalid("", e.to_string()))?;
        given.operands.extend(rest);
    }
    let global = Global {
        root,
        log: std::mem::take(log),
    };
    let outcome = (verb.run)(&global, &given);
    *log = global.log;
    outcome
}

fn check_unsupported(given: &Given) -> Result<()> {
    let refuse =
        |what: &str, why: &str| Err(Error::new(Kind::Unsupported, "use option", what, why));
    if given.has("systemd-cgroup") {
        return refuse(
            "--systemd-cgroup",
            "groups are made in the cgroup file system; configure the engine for cgroupfs",
        );
    }
    if given.last("criu").is_some() {
        return refuse("--criu", "minidock has no checkpoints");
    }
    match given.text("rootless")?.as_deref() {
        None | Some("false" | "auto") => Ok(()),
        Some("true") => refuse("--rootless", "this version needs root"),
        Some(_) => Err(options::invalid(
            "--rootless",
            "neither true, false nor auto",
        )),
    }
}

fn version() -> String {
    format!(
        "minidock-runtime version {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        features::SPEC_VERSION
    )
}

/// Prints to stdout; a reader that has gone is no failure of ours.
fn print(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", "stdout", e).into())
        }
        _ => Ok(0),
    }
}

/// Prints a document.
fn print_json(document: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(document)
        .map_err(|e| Error::new(Kind::Invalid, "write document", "", e.to_string()))?;
    print(&(text + "\n"))
}
