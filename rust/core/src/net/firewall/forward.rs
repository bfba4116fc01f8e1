//! Others' base chains for what is forwarded, where they let nothing pass that they do not know: what our table accepts they
//! would drop. At the head of such a chain goes a jump to a chain of ours, which accepts what is from or to our bridges; our
//! table, which sees the packet as well, has the last word. The rules are as iptables(8) would write them, so that it lists them.
use std::collections::BTreeSet;

use super::layout::{FAMILY, NAME_LENGTH, set};
use crate::error::{Kind, Result};
use crate::net::nft::expr::Meta;
use crate::net::nft::read::{self, Found, Known};
use crate::net::nft::{Batch, Chain, Family, Rule, Socket, Verdict};

/// What all chains of ours in others' tables begin with.
const PREFIX: &str = "MINIDOCK";
/// What the names of our own tables begin with.
const OWN_TABLES: &str = "minidock";
/// What the bridges of user-defined networks begin with. One rule is for all of them.
const USER_BRIDGE: &[u8] = b"mdn-";
/// `NF_INET_FORWARD`.
const HOOK: u32 = 2;

/// The name of our chain in others' tables.
fn chain_of(table: &str) -> String {
    let name = table.to_uppercase();
    let prefixed = name.starts_with(PREFIX);
    let mut name = if prefixed {
        name
    } else {
        format!("{PREFIX}-{name}")
    };
    // iptables(8) has 28 characters.
    name.truncate(28);
    name
}

/// Base chains that may drop what is ours: by their policy, or by a rule that lets nothing pass.
fn obstacles<'a>(socket: &Socket, chains: &'a [Found]) -> Vec<&'a Found> {
    let obstacle = |found: &&Found| {
        let Some(hook) = &found.chain.hook else {
            return false;
        };
        if hook.number != HOOK || hook.kind != "filter" || found.table.starts_with(OWN_TABLES) {
            return false;
        }
        let iptables = matches!(found.family, Family::Ip | Family::Ip6)
            && found.table == "filter"
            && found.chain.name == "FORWARD";
        iptables || !hook.accept || has_a_stop(socket, found)
    };
    chains.iter().filter(obstacle).collect()
}

fn has_a_stop(socket: &Socket, at: &Found) -> bool {
    // It may disappear at any time; then it stops nothing any more.
    let rules = read::rules(socket, at.family, &at.table, &at.chain.name).unwrap_or_default();
    rules.iter().any(|rule| rule.stops)
}

/// Our rules for some bridges, by their names as in a register.
fn accept(bridges: &[Vec<u8>]) -> Vec<Rule> {
    // A name is compared with the zero behind it, the beginning of one without.
    let names: BTreeSet<Vec<u8>> = bridges
        .iter()
        .map(|name| {
            let length = name.iter().position(|b| *b == 0).unwrap_or(NAME_LENGTH - 1);
            let is_user = length == NAME_LENGTH - 1 && name.starts_with(USER_BRIDGE);
            let name = if is_user {
                USER_BRIDGE
            } else {
                &name[..(length + 1).min(name.len())]
            };
            name.to_vec()
        })
        .collect();
    let rule = |(name, way): (&Vec<u8>, Meta)| {
        let rule = Rule::new("minidock").meta(way, 0).equal(0, name);
        rule.counter().verdict(&Verdict::Accept)
    };
    let both = names
        .iter()
        .flat_map(|name| [(name, Meta::In), (name, Meta::Out)]);
    both.map(rule).collect()
}

fn jump(to: &str) -> Rule {
    let rule = Rule::new("minidock").counter();
    rule.verdict(&Verdict::Jump(to.to_owned()))
}

/// The names of our bridges as the table has them.
fn bridges(socket: &Socket, table: &str) -> Result<Vec<Vec<u8>>> {
    match read::elements(socket, FAMILY, table, set::BRIDGES) {
        Ok(elements) => Ok(elements.into_iter().map(|element| element.key).collect()),
        Err(e) if e.kind == Kind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// How it stands with one obstacle.
struct Place<'a> {
    at: &'a Found,
    /// Our chain exists.
    exists: bool,
    /// Its rules are these.
    complete: bool,
    /// The jumps to it.
    jumps: Vec<u64>,
    /// There is one, and nothing of others' before it.
    first: bool,
}

impl<'a> Place<'a> {
    fn look(
        socket: &Socket,
        chains: &[Found],
        at: &'a Found,
        name: &str,
        rules: &[Rule],
    ) -> Result<Self> {
        let ours = |found: &Found| {
            found.family == at.family && found.table == at.table && found.chain.name == name
        };
        let exists = chains.iter().any(ours);
        let there: Vec<Known> = if exists {
            read::rules(socket, at.family, &at.table, name)?
        } else {
            Vec::new()
        };
        let tags = rules.iter().map(Rule::tag);
        let around = read::rules(socket, at.family, &at.table, &at.chain.name)?;
        let jumps = around.iter().filter(|rule| rule.jump == name);
        let others = |rule: &&Known| !rule.jump.starts_with(PREFIX);
        let before = around.iter().take_while(|rule| rule.jump != name);
        Ok(Self {
            at,
            exists,
            complete: tags.eq(there.into_iter().map(|rule| rule.comment)),
            jumps: jumps.map(|rule| rule.handle).collect(),
            first: !before.clone().any(|rule| others(&rule)) && before.count() < around.len(),
        })
    }

    fn is_open(&self) -> bool {
        self.exists && self.complete && self.first && self.jumps.len() == 1
    }

    fn open(&self, batch: &mut Batch, name: &str, rules: &[Rule]) {
        let (family, table) = (self.at.family, &self.at.table);
        if !self.exists {
            let chain = Chain {
                name: name.to_owned(),
                hook: None,
            };
            batch.add_chain(family, table, &chain);
        }
        if !self.complete {
            if self.exists {
                batch.delete_rules(family, table, name, None);
            }
            for rule in rules {
                batch.add_rule(family, table, name, rule);
            }
        }
        if !self.first || self.jumps.len() != 1 {
            for handle in &self.jumps {
                batch.delete_rules(family, table, &self.at.chain.name, Some(*handle));
            }
            batch.insert_rule(family, table, &self.at.chain.name, &jump(name));
        }
    }
}

/// Whether all obstacles let pass what is ours.
#[cfg(test)]
pub fn is_open(socket: &Socket, table: &str) -> Result<bool> {
    Ok(closed(socket, table)?.is_empty())
}

/// The obstacles that do not let pass what is ours.
fn closed(socket: &Socket, table: &str) -> Result<Vec<Found>> {
    let chains = read::chains(socket)?;
    let obstacles = obstacles(socket, &chains);
    if obstacles.is_empty() {
        return Ok(Vec::new());
    }
    let rules = accept(&bridges(socket, table)?);
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let name = chain_of(table);
    let mut closed = Vec::new();
    for at in obstacles {
        if !Place::look(socket, &chains, at, &name, &rules)?.is_open() {
            closed.push(at.clone());
        }
    }
    Ok(closed)
}

/// Has obstacles let pass what is ours; true if something was changed. Those that refuse are among the [`problems`].
pub fn open(socket: &Socket, table: &str) -> Result<bool> {
    let chains = read::chains(socket)?;
    let obstacles = obstacles(socket, &chains);
    if obstacles.is_empty() {
        return Ok(false);
    }
    let rules = accept(&bridges(socket, table)?);
    if rules.is_empty() {
        return close(socket, table);
    }
    let name = chain_of(table);
    let mut changed = false;
    for at in obstacles {
        // It may disappear at any time; then it is none any more.
        let Ok(place) = Place::look(socket, &chains, at, &name, &rules) else {
            continue;
        };
        if !place.is_open() {
            let mut batch = Batch::new(None);
            place.open(&mut batch, &name, &rules);
            changed |= socket.commit(batch)?.is_empty();
        }
    }
    Ok(changed)
}

/// Takes back everything that was put into others' tables; true if there was any.
pub fn close(socket: &Socket, table: &str) -> Result<bool> {
    let chains = read::chains(socket)?;
    let name = chain_of(table);
    let mut changed = false;
    for ours in chains.iter().filter(|found| found.chain.name == name) {
        let Ok(rules) = read::rules(socket, ours.family, &ours.table, "") else {
            continue;
        };
        let mut batch = Batch::new(None);
        for rule in rules.iter().filter(|rule| rule.jump == name) {
            batch.delete_rules(ours.family, &ours.table, &rule.chain, Some(rule.handle));
        }
        batch.delete_rules(ours.family, &ours.table, &name, None);
        batch.delete_chain(ours.family, &ours.table, &name);
        changed |= socket.commit(batch)?.is_empty();
    }
    Ok(changed)
}

/// How a chain is called in words.
fn shown(found: &Found) -> String {
    let (chain, family, table) = (&found.chain.name, found.family.word(), &found.table);
    format!("chain {chain} of nf_tables table {family} {table}")
}

/// Others' chains that drop what is forwarded, in words, and whether they let pass what is ours.
pub fn chains(socket: &Socket, table: &str) -> Result<Vec<(String, bool)>> {
    let closed = closed(socket, table)?;
    let chains = read::chains(socket)?;
    let found = obstacles(socket, &chains).into_iter();
    Ok(found
        .filter(|found| {
            found.chain.hook.as_ref().is_some_and(|hook| !hook.accept) || has_a_stop(socket, found)
        })
        .map(|found| (shown(found), !closed.contains(found)))
        .collect())
}

/// What is in the way and cannot be changed here.
pub fn problems(socket: &Socket, table: &str) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for found in closed(socket, table)? {
        let mut problem = format!(
            "{} drops what is forwarded and could not be changed: accept there what comes from and goes to the containers' bridges, \
             whose names are minidock0 and mdn-*",
            shown(&found)
        );
        if found.table == "firewalld" {
            problem += ", as with firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE";
        }
        problems.push(problem);
    }
    for (file, program) in [
        ("/proc/net/ip_tables_names", "iptables-legacy"),
        ("/proc/net/ip6_tables_names", "ip6tables-legacy"),
    ] {
        let names = std::fs::read_to_string(file).unwrap_or_default();
        if names.lines().any(|name| name == "filter") {
            problems.push(format!(
                "{program} has a filter table, which is not changed here: if its chain FORWARD drops, accept the containers' bridges there"
            ));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(chain_of("minidock"), "MINIDOCK");
        assert_eq!(chain_of("minidock-1a2b3c4d"), "MINIDOCK-1A2B3C4D");
        assert_eq!(chain_of("other"), "MINIDOCK-OTHER");
    }

    #[test]
    fn one_rule_for_all_user_networks() {
        let name = |text: &str| {
            let mut name = text.as_bytes().to_vec();
            name.resize(NAME_LENGTH, 0);
            name
        };
        let users = [name("mdn-0123456789a"), name("mdn-0123456789b")];
        assert_eq!(accept(&users), accept(&users[..1]));
        assert_eq!(accept(&users).len(), 2);
        // A name that somebody chose.
        assert_eq!(accept(&[name("mdn-x"), users[0].clone()]).len(), 4);
        assert!(accept(&[]).is_empty());
    }
}
