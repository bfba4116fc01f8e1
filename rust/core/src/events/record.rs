//! One event as one line of JSON, at most 16 KiB, whose end carries its time and number.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::Event;

/// The longest line in bytes, its end included; what is longer is cut ([`line`]).
pub const LINE_MAX: usize = 16 << 10;
/// The longest action and object id, in bytes.
pub const TEXT_MAX: usize = 2 << 10;
/// What a value keeps, in bytes, of those that are cut.
const VALUE_MAX: usize = 256;
/// `,"timeNano":` and `,"seq":` with 20 digits each, `}` and the line's end.
pub(super) const STAMP_MAX: usize = 12 + 20 + 7 + 20 + 2;

/// The order of events: both grow from line to line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The number of the event on this data root, from 0.
    pub seq: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    r#type: &'a str,
    action: &'a str,
    actor: Actor<'a>,
}

#[derive(Serialize)]
struct Actor<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "Attributes")]
    attributes: &'a BTreeMap<String, String>,
}

/// The line of an event without its [`finish`]. Where it would be too long, long values lose their end (`…` stands for
/// it), the longest first; then whole attributes go, the longest first.
pub(super) fn line(event: &Event<'_>) -> String {
    let text = encode(event, event.attributes);
    if text.len() <= LINE_MAX - STAMP_MAX {
        return text;
    }
    let mut attributes = event.attributes.clone();
    let mut over = text.len() - (LINE_MAX - STAMP_MAX);
    let mut longest: Vec<(usize, &String)> = event
        .attributes
        .iter()
        .map(|(key, value)| (encoded(value), key))
        .collect();
    longest.sort_unstable_by(|a, b| b.cmp(a));
    for (size, key) in longest {
        if over == 0 || size <= VALUE_MAX {
            break;
        }
        let Some(value) = attributes.get_mut(key) else {
            continue;
        };
        *value = cut(value, VALUE_MAX).into_owned();
        over = over.saturating_sub(size.saturating_sub(encoded(value)));
    }
    let mut entries: Vec<(usize, String)> = attributes
        .iter()
        .map(|(key, value)| (encoded(key) + encoded(value) + 2, key.clone()))
        .collect();
    entries.sort_unstable();
    while over > 0 {
        let Some((size, key)) = entries.pop() else {
            break;
        };
        attributes.remove(&key);
        over = over.saturating_sub(size);
    }
    encode(event, &attributes)
}

/// Adds time, number and end to a [`line`].
pub(super) fn finish(line: &mut String, stamp: Stamp) {
    debug_assert!(line.ends_with('}'));
    line.pop();
    let _ = writeln!(line, r#","timeNano":{},"seq":{}}}"#, stamp.time, stamp.seq);
}

/// The time and number of a whole line, by its end (its last [`STAMP_MAX`] bytes are enough); None: it is no whole line.
pub(super) fn stamp(text: &[u8]) -> Option<Stamp> {
    let rest = text.strip_suffix(b"}\n")?;
    let (rest, seq) = number(rest)?;
    let (rest, time) = number(rest.strip_suffix(br#","seq":"#)?)?;
    rest.ends_with(br#","timeNano":"#)
        .then_some(Stamp { time, seq })
}

/// Splits the digits at the end off.
fn number(text: &[u8]) -> Option<(&[u8], u64)> {
    let digits = text
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (rest, number) = text.split_at(text.len() - digits);
    Some((rest, std::str::from_utf8(number).ok()?.parse().ok()?))
}

fn encode(event: &Event<'_>, attributes: &BTreeMap<String, String>) -> String {
    let body = Body {
        r#type: event.kind,
        action: &cut(event.action, TEXT_MAX),
        actor: Actor {
            id: &cut(event.id, TEXT_MAX),
            attributes,
        },
    };
    // A map with text for keys is all that could fail.
    serde_json::to_string(&body).unwrap_or_default()
}

/// The size of a text as JSON, quotes included.
fn encoded(text: &str) -> usize {
    serde_json::to_string(text).map_or(0, |json| json.len())
}

/// The text itself or, when it is longer as JSON, as much of it as fits with `…` behind it.
fn cut(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() * 6 <= max || encoded(text) <= max {
        return Cow::Borrowed(text);
    }
    let (mut size, mut end) = ("\"…\"".len(), 0);
    for (at, character) in text.char_indices() {
        size += match character {
            '"' | '\\' => 2,
            '\0'..='\x1f' => 6,
            _ => character.len_utf8(),
        };
        if size > max {
            break;
        }
        end = at + character.len_utf8();
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(event: &Event<'_>) -> serde_json::Value {
        let mut text = line(event);
        finish(
            &mut text,
            Stamp {
                time: u64::MAX,
                seq: u64::MAX,
            },
        );
        assert!(text.len() <= LINE_MAX, "{}", text.len());
        let tail = &text.as_bytes()[text.len().saturating_sub(STAMP_MAX)..];
        assert_eq!(stamp(tail).unwrap().seq, u64::MAX);
        assert_eq!(text.matches('\n').count(), 1);
        serde_json::from_str(&text).unwrap()
    }

    fn container<'a>(attributes: &'a BTreeMap<String, String>) -> Event<'a> {
        Event {
            kind: "container",
            action: "start",
            id: "abc",
            attributes,
        }
    }

    #[test]
    fn a_line_is_the_event_and_its_stamp() {
        let attributes = BTreeMap::from([("name".into(), "wörld \"\n\\ ✓".into())]);
        let value = made(&container(&attributes));
        assert_eq!(value["Type"], "container");
        assert_eq!(value["Action"], "start");
        assert_eq!(value["Actor"]["ID"], "abc");
        assert_eq!(value["Actor"]["Attributes"]["name"], "wörld \"\n\\ ✓");
        assert_eq!(value["timeNano"], u64::MAX);
    }

    #[test]
    fn a_line_that_was_torn_anywhere_has_no_stamp() {
        let attributes = BTreeMap::from([("seq".into(), ",\"seq\":1}".into())]);
        let mut text = line(&container(&attributes));
        finish(&mut text, Stamp { time: 17, seq: 5 });
        assert_eq!(stamp(text.as_bytes()), Some(Stamp { time: 17, seq: 5 }));
        for end in 0..text.len() - 1 {
            let torn = format!("{}\n", &text[..end]);
            assert_eq!(stamp(torn.as_bytes()), None, "{torn}");
            assert_eq!(stamp(&text.as_bytes()[..end]), None);
        }
        assert_eq!(stamp(b"\0\0\0\n"), None);
        assert_eq!(stamp(b",\"timeNano\":,\"seq\":1}\n"), None);
        assert_eq!(
            stamp(b",\"timeNano\":1,\"seq\":99999999999999999999}\n"),
            None
        );
    }

    #[test]
    fn long_labels_lose_their_end_and_short_ones_stay() {
        let long = "é".repeat(100_000);
        let attributes = BTreeMap::from([
            ("name".into(), "web".into()),
            ("label".into(), long),
            ("control".into(), "\u{1}".repeat(50_000)),
            ("image".into(), "busybox".into()),
        ]);
        let value = made(&container(&attributes));
        let kept = &value["Actor"]["Attributes"];
        assert_eq!(kept["name"], "web");
        assert_eq!(kept["image"], "busybox");
        let label = kept["label"].as_str().unwrap();
        assert!(label.starts_with("éé") && label.ends_with("é…"), "{label}");
        assert!(label.len() <= VALUE_MAX);
        assert!(kept["control"].as_str().unwrap().ends_with('…'));
    }

    #[test]
    fn too_many_attributes_leave_the_shortest() {
        let attributes: BTreeMap<String, String> = (0..3000)
            .map(|n| (format!("label-{n:04}-{}", "k".repeat(n % 300)), "v".into()))
            .collect();
        let value = made(&container(&attributes));
        let kept = value["Actor"]["Attributes"].as_object().unwrap();
        assert!(kept.len() > 100, "{}", kept.len());
        assert!(kept.contains_key("label-0000-"));
    }

    #[test]
    fn an_action_and_an_id_are_bounded() {
        let (none, long) = (BTreeMap::new(), "\"".repeat(100_000));
        let value = made(&Event {
            kind: "container",
            action: &format!("exec_create: {long}"),
            id: &long,
            attributes: &none,
        });
        assert!(value["Action"].as_str().unwrap().len() <= TEXT_MAX);
        assert!(value["Actor"]["ID"].as_str().unwrap().ends_with("\"…"));
    }
}
