//! The command line: tables of options, their parser, their help.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lexopt::{Arg, Parser, ValueExt};
use minidock_core::{Error, Kind, Result};

/// One option of a verb, or of all verbs.
#[derive(Debug, Clone, Copy)]
pub struct Opt {
    /// The name after `--`.
    pub long: &'static str,
    /// The letter after `-`.
    pub short: Option<char>,
    /// What the help calls its value; None: it takes none.
    pub value: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
}

/// An option without a value.
pub const fn flag(long: &'static str, short: Option<char>, help: &'static str) -> Opt {
    Opt {
        long,
        short,
        value: None,
        help,
    }
}

/// An option with a value.
pub const fn value(
    long: &'static str,
    short: Option<char>,
    value: &'static str,
    help: &'static str,
) -> Opt {
    Opt {
        long,
        short,
        value: Some(value),
        help,
    }
}

/// A verb: its name, options and the function that carries it out.
pub struct Verb {
    /// The word on the command line.
    pub name: &'static str,
    /// What follows the options.
    pub operands: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Its options.
    pub options: &'static [Opt],
    /// Everything after the first operand belongs to it, dashes or not.
    pub command: bool,
    /// Carries it out.
    pub run: fn(&super::Global, &Given) -> super::Outcome,
}

/// What a command line gave: options by name, and operands.
#[derive(Debug, Default)]
pub struct Given {
    values: BTreeMap<&'static str, Vec<OsString>>,
    flags: BTreeSet<&'static str>,
    /// Everything that is no option.
    pub operands: Vec<OsString>,
}

pub(super) fn invalid(subject: impl Into<String>, why: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, "read command line", subject, why)
}

fn usage(error: &lexopt::Error) -> Error {
    invalid("", error.to_string())
}

/// Every verb has it, and the program itself.
static HELP: Opt = flag("help", Some('h'), "print this help");

impl Given {
    /// Reads options until the end, or until the first operand when `stop` says so (which is then the only operand).
    pub fn read(parser: &mut Parser, table: &'static [Opt], stop: bool) -> Result<Self> {
        let mut given = Self::default();
        while let Some(arg) = parser.next().map_err(|e| usage(&e))? {
            let all = || table.iter().chain([&HELP]);
            let found = match &arg {
                Arg::Value(_) => None,
                Arg::Long(name) => Some(all().find(|o| o.long == *name)),
                Arg::Short(letter) => Some(all().find(|o| o.short == Some(*letter))),
            };
            match (found, arg) {
                (None, Arg::Value(operand)) => {
                    given.operands.push(operand);
                    if stop {
                        break;
                    }
                }
                (Some(Some(option)), _) => given.take(parser, option)?,
                (_, arg) => return Err(usage(&arg.unexpected())),
            }
        }
        Ok(given)
    }

    fn take(&mut self, parser: &mut Parser, option: &'static Opt) -> Result<()> {
        if option.value.is_some() {
            let value = parser.value().map_err(|e| usage(&e))?;
            self.values.entry(option.long).or_default().push(value);
            return Ok(());
        }
        // `--flag=false` is how programs written in Go may put it.
        match parser.optional_value().as_deref().map(OsStr::to_str) {
            None | Some(Some("true")) => {
                self.flags.insert(option.long);
            }
            Some(Some("false")) => {
                self.flags.remove(option.long);
            }
            Some(other) => {
                return Err(invalid(
                    format!("--{}", option.long),
                    format!("{:?} is neither true nor false", other.unwrap_or_default()),
                ));
            }
        }
        Ok(())
    }

    /// Whether a flag was given.
    pub fn has(&self, name: &str) -> bool {
        self.flags.contains(name)
    }

    /// The last value of an option.
    pub fn last(&self, name: &str) -> Option<&OsStr> {
        self.values.get(name)?.last().map(OsString::as_os_str)
    }

    /// The last value of an option, as a path.
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.last(name).map(Path::new)
    }

    /// The last value of an option, as text.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        self.last(name).map(|v| text(name, v)).transpose()
    }

    /// All values of an option, as texts.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        let all = self.values.get(name).into_iter().flatten();
        all.map(|v| text(name, v)).collect()
    }

    /// The last value of an option, parsed.
    pub fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>> {
        let parse = |v: String| {
            v.parse()
                .map_err(|_| invalid(format!("--{name} {v}"), format!("not {expected}")))
        };
        self.text(name)?.map(parse).transpose()
    }

    /// The container's id, which must be the only operand besides `more`, and those.
    pub fn id(&self, most_more: usize) -> Result<(&str, &[OsString])> {
        let Some((first, rest)) = self.operands.split_first() else {
            return Err(invalid("", "the container's id is missing"));
        };
        if rest.len() > most_more {
            return Err(invalid(
                rest[most_more].to_string_lossy(),
                "unexpected argument",
            ));
        }
        Ok((super::state::check_id(first)?, rest))
    }
}

fn text(name: &str, value: &OsStr) -> Result<String> {
    let text = value.to_owned().string();
    text.map_err(|_| invalid(format!("--{name}"), "its value is not UTF-8"))
}

/// The absolute form of a path on the command line; it need not exist.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::io("find", path.display().to_string(), e))
}

/// The help of a verb.
pub fn verb_help(verb: &Verb) -> String {
    let mut out = format!(
        "usage: minidock-runtime {} [options] {}\n\n{}\n",
        verb.name, verb.operands, verb.help
    );
    list(&mut out, verb.options);
    out
}

/// The help of the whole program.
pub fn help(verbs: impl Iterator<Item = &'static Verb>, global: &[Opt]) -> String {
    let mut out =
        String::from("usage: minidock-runtime [options] VERB [options] [arguments]\n\nverbs:\n");
    for verb in verbs {
        let _ = writeln!(out, "  {:<10} {}", verb.name, verb.help);
    }
    list(&mut out, global);
    out
}

fn list(out: &mut String, options: &[Opt]) {
    out.push_str("\noptions:\n");
    for option in options.iter().chain([&HELP]) {
        let short = option
            .short
            .map_or_else(|| "    ".into(), |c| format!("-{c}, "));
        let name = match option.value {
            Some(value) => format!("{short}--{} {value}", option.long),
            None => format!("{short}--{}", option.long),
        };
        let _ = writeln!(out, "  {name:<34} {}", option.help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Opt] = &[
        flag("force", Some('f'), ""),
        value("bundle", Some('b'), "DIR", ""),
    ];

    fn read(args: &[&str], stop: bool) -> Result<Given> {
        Given::read(&mut Parser::from_args(args), TABLE, stop)
    }

    #[test]
    fn options_come_before_and_after_operands() {
        let given = read(&["-f", "id", "--bundle=/b", "-b", "/c"], false).unwrap();
        assert!(given.has("force"));
        assert_eq!(given.path("bundle"), Some(Path::new("/c")));
        assert_eq!(given.operands, ["id"]);
        assert!(
            !read(&["--force", "--force=false"], false)
                .unwrap()
                .has("force")
        );
        assert_eq!(
            read(&["-b", "/c", "id", "-f"], true).unwrap().operands,
            ["id"]
        );
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_an_error() {
        for args in [&["--nope"][..], &["-b"], &["--force=maybe"], &["-x"]] {
            assert_eq!(
                read(args, false).unwrap_err().kind,
                Kind::Invalid,
                "{args:?}"
            );
        }
    }
}
