//! What there is in nf_tables.
use super::batch::{Chain, Data, Hook, Set, Verdict};
use super::expr::VERDICT;
use super::message::Reader;
use super::{Family, Socket, kind};
use crate::error::Result;

/// A chain with where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: Chain,
}

/// A rule, as far as it can be told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its chain.
    pub chain: String,
    /// By which it can be deleted.
    pub handle: u64,
    /// The comment of nft(8); empty without one.
    pub comment: String,
    /// The chain that it ends in a jump to; empty if it does not.
    pub jump: String,
    /// It drops or rejects whatever comes to it.
    pub stops: bool,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// Its bytes.
    pub key: Vec<u8>,
    /// False for the first behind an interval. It sorts before the start of the next one, as the kernel wants it.
    pub start: bool,
    /// What it is mapped to.
    pub data: Data,
}

/// Whether a table does anything; none if it does not exist.
pub fn is_awake(socket: &Socket, family: Family, table: &str) -> Result<Option<bool>> {
    let mut flags = None;
    socket.get(
        kind::GET_TABLE,
        family,
        |a| a.text(1, table),
        &mut |_, body| flags = Some(body.number(2).unwrap_or(0)),
    )?;
    // NFT_TABLE_F_DORMANT.
    Ok(flags.map(|flags| flags & 1 == 0))
}

/// The chains of all tables of the families that are known here.
pub fn chains(socket: &Socket) -> Result<Vec<Found>> {
    let found = std::cell::RefCell::new(Vec::new());
    socket.list(
        kind::GET_CHAIN,
        None,
        |_| {},
        &mut || found.borrow_mut().clear(),
        &mut |family, body| {
            if let Some(family) = Family::from_number(family) {
                found.borrow_mut().push(chain(family, body));
            }
        },
    )?;
    Ok(found.into_inner())
}

fn chain(family: Family, body: Reader<'_>) -> Found {
    let place = body.nested(4);
    let hook = place.number(1).map(|number| Hook {
        kind: body.text(7),
        number,
        priority: place.number(2).unwrap_or(0).cast_signed(),
        accept: body.number(5) != Some(0),
    });
    Found {
        family,
        table: body.text(1),
        chain: Chain {
            name: body.text(3),
            hook,
        },
    }
}

/// The rules of a table in their order, of one chain or of all.
pub fn rules(socket: &Socket, family: Family, table: &str, chain: &str) -> Result<Vec<Known>> {
    let found = std::cell::RefCell::new(Vec::new());
    socket.list(
        kind::GET_RULE,
        Some(family),
        |a| {
            a.text(1, table);
            if !chain.is_empty() {
                a.text(2, chain);
            }
        },
        &mut || found.borrow_mut().clear(),
        &mut |_, body| {
            // Linux before 4.18 lists all tables.
            if body.text(1) == table && (chain.is_empty() || body.text(2) == chain) {
                found.borrow_mut().push(rule(body));
            }
        },
    )?;
    Ok(found.into_inner())
}

fn rule(body: Reader<'_>) -> Known {
    let last = body.nested(4).last().map(|(_, value)| Reader(value));
    let jump = last
        .filter(|expression| expression.text(1) == "immediate")
        .map(|expression| expression.nested(2).nested(2).nested(2).text(2));
    Known {
        chain: body.text(2),
        handle: body.long(3).unwrap_or(0),
        comment: comment(body.get(7).unwrap_or_default()),
        jump: jump.unwrap_or_default(),
        stops: stops(body),
    }
}

/// Whether a rule has no condition, and drops or rejects.
fn stops(rule: Reader<'_>) -> bool {
    for (_, value) in rule.nested(4) {
        let expression = Reader(value);
        match expression.text(1).as_str() {
            "counter" | "log" => {}
            "reject" => return true,
            "immediate" => {
                // NF_DROP.
                let verdict = expression.nested(2).nested(2).nested(2);
                return verdict.number(1) == Some(0);
            }
            _ => return false,
        }
    }
    false
}

/// The comment in user data: entries of type, length and value.
fn comment(mut userdata: &[u8]) -> String {
    while let [kind, length, rest @ ..] = userdata {
        let (value, rest) = rest.split_at(rest.len().min(*length as usize));
        if *kind == 0 {
            let text = value.split(|b| *b == 0).next().unwrap_or_default();
            return String::from_utf8_lossy(text).into_owned();
        }
        userdata = rest;
    }
    String::new()
}

/// The sets of a table.
pub fn sets(socket: &Socket, family: Family, table: &str) -> Result<Vec<Set>> {
    let found = std::cell::RefCell::new(Vec::new());
    socket.list(
        kind::GET_SET,
        Some(family),
        |a| a.text(1, table),
        &mut || found.borrow_mut().clear(),
        &mut |_, body| {
            found.borrow_mut().push(Set {
                name: body.text(2),
                flags: body.number(3).unwrap_or(0),
                key: (body.number(4).unwrap_or(0), body.number(5).unwrap_or(0)),
                data: body.number(6).map(|kind| {
                    let length = body.number(7).filter(|_| kind != VERDICT);
                    (kind, length.unwrap_or(0))
                }),
            });
        },
    )?;
    Ok(found.into_inner())
}

/// The elements of a set. Fails with `NotFound`.
pub fn elements(socket: &Socket, family: Family, table: &str, set: &str) -> Result<Vec<Element>> {
    let found = std::cell::RefCell::new(Vec::new());
    socket.list(
        kind::GET_ELEMENT,
        Some(family),
        |a| {
            a.text(1, table);
            a.text(2, set);
        },
        &mut || found.borrow_mut().clear(),
        &mut |_, body| {
            for (_, value) in body.nested(3) {
                found.borrow_mut().push(element(Reader(value)));
            }
        },
    )?;
    Ok(found.into_inner())
}

fn element(body: Reader<'_>) -> Element {
    let data = body.nested(2);
    let verdict = data.nested(2);
    let data = match (data.get(1), verdict.number(1)) {
        (Some(value), _) => Data::Value(value.to_vec()),
        (None, Some(code)) => {
            Verdict::read(code, verdict.text(2)).map_or(Data::None, Data::Verdict)
        }
        (None, None) => Data::None,
    };
    Element {
        key: body.nested(1).get(1).unwrap_or_default().to_vec(),
        start: body.number(3).is_none_or(|flags| flags & 1 == 0),
        data,
    }
}
