//! What is always the same in our table: its sets, chains and rules. Nothing here depends on how many networks there are.
use crate::net::nft::batch::{INTERVAL, MAP};
use crate::net::nft::expr::{
    Ct, DESTINATION_CHANGED, ESTABLISHED, IPV4, IPV6, Meta, NAME, PROTOCOL, RELATED, SERVICE,
    VERDICT, concatenated,
};
use crate::net::nft::read::{Found, Known};
use crate::net::nft::{Batch, Chain, Family, Hook, Rule, Set, Verdict};

/// Family of our table.
pub const FAMILY: Family = Family::Inet;

/// Sets and maps by name; [`super::elements`] fills them.
pub mod set {
    /// Interface names of our bridges, to what happens with new connections into them.
    pub const INTO: &str = "into";
    /// Interface names of our bridges.
    pub const BRIDGES: &str = "bridges";
    /// Interface names of bridges that nothing gets out of.
    pub const INTERNAL: &str = "internal";
    /// Pairs of one interface name, of bridges whose containers reach each other.
    pub const TOGETHER: &str = "together";
    /// Subnets of all networks.
    pub const SUBNETS: [&str; 2] = ["subnets4", "subnets6"];
    /// Subnets that are hidden behind the host's address.
    pub const HIDDEN: [&str; 2] = ["masquerade4", "masquerade6"];
    /// Published ports of every address.
    pub const PORTS: [&str; 2] = ["ports4", "ports6"];
    /// Published ports of one address.
    pub const ADDRESS_PORTS: [&str; 2] = ["address-ports4", "address-ports6"];
    /// Published ports of 127.0.0.0/8, which nobody else may reach.
    pub const LOOPBACK_PORTS: &str = "loopback-ports4";
    /// All of them.
    pub const ALL: [&str; 13] = [
        INTO,
        BRIDGES,
        INTERNAL,
        TOGETHER,
        LOOPBACK_PORTS,
        SUBNETS[0],
        SUBNETS[1],
        HIDDEN[0],
        HIDDEN[1],
        PORTS[0],
        PORTS[1],
        ADDRESS_PORTS[0],
        ADDRESS_PORTS[1],
    ];
}

/// Chain that published ports are looked for in.
const PUBLISHED: &str = "published";
/// Chain for new connections into an ordinary network.
pub const PROTECTED: &str = "protected";
/// What may get into networks that are routed to in one IP version: all of that one.
pub const ROUTED: [&str; 2] = ["routed4", "routed6"];

/// Length of an interface name in a register.
pub const NAME_LENGTH: usize = 16;
/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u16 = 772;

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// The IP versions with where theirs is in the arrays of [`set`].
const VERSIONS: [(usize, Family); 2] = [(0, Family::Ip), (1, Family::Ip6)];

/// All sets.
#[must_use]
pub fn sets() -> Vec<Set> {
    let length = NAME_LENGTH as u32;
    let set = |name: &str, flags, key, data| Set {
        name: name.to_owned(),
        flags,
        key,
        data,
    };
    let mut sets = vec![
        set(set::INTO, MAP, (NAME, length), Some((VERDICT, 0))),
        set(set::BRIDGES, 0, (NAME, length), None),
        set(set::INTERNAL, 0, (NAME, length), None),
        set(
            set::TOGETHER,
            0,
            (concatenated(&[NAME, NAME]), 2 * length),
            None,
        ),
        set(
            set::LOOPBACK_PORTS,
            0,
            (concatenated(&[IPV4, PROTOCOL, SERVICE]), 12),
            None,
        ),
    ];
    for (at, (address, length)) in [(IPV4, 4), (IPV6, 16)].into_iter().enumerate() {
        let to = Some((concatenated(&[address, SERVICE]), length + 4));
        let port = concatenated(&[PROTOCOL, SERVICE]);
        let address_port = concatenated(&[address, PROTOCOL, SERVICE]);
        sets.extend([
            set(set::SUBNETS[at], INTERVAL, (address, length), None),
            set(set::HIDDEN[at], INTERVAL, (address, length), None),
            set(set::PORTS[at], MAP, (port, 8), to),
            set(set::ADDRESS_PORTS[at], MAP, (address_port, length + 8), to),
        ]);
    }
    sets
}

/// All chains.
#[must_use]
pub fn chains() -> Vec<Chain> {
    let base = |name: &str, kind: &str, number, priority| Chain {
        name: name.to_owned(),
        hook: Some(Hook {
            kind: kind.to_owned(),
            number,
            priority,
            accept: true,
        }),
    };
    let plain = |name: &str| Chain {
        name: name.to_owned(),
        hook: None,
    };
    vec![
        plain(PUBLISHED),
        plain(PROTECTED),
        plain(ROUTED[0]),
        plain(ROUTED[1]),
        // Before connections are tracked.
        base("early", "filter", PREROUTING, -300),
        base("prerouting", "nat", PREROUTING, -100),
        base("output", "nat", OUTPUT, -100),
        base("postrouting", "nat", POSTROUTING, 100),
        base("forward", "filter", FORWARD, 0),
    ]
}

/// All rules with their chains, in their order.
#[must_use]
pub fn rules() -> Vec<(&'static str, Rule)> {
    let mut rules = early();
    rules.extend(destinations());
    rules.extend(sources());
    rules.extend(forward());
    rules
}

/// Goes on for what comes from, or is for, 127.0.0.0/8.
fn loopback(rule: Rule) -> Rule {
    rule.mask(0, &[255, 0, 0, 0]).equal(0, &[127, 0, 0, 0])
}

/// What must not get in where somebody has allowed addresses of loopback on the wire (`route_localnet`).
fn early() -> Vec<(&'static str, Rule)> {
    let ip = |comment| Rule::new(comment).family(Family::Ip);
    let outside = |rule: Rule| {
        rule.meta(Meta::InKind, 0)
            .differs(0, &LOOPBACK.to_ne_bytes())
    };
    let ports = outside(loopback(
        ip("ports of loopback are not for others").destination(Family::Ip, 0),
    ));
    let ports = ports.destination(Family::Ip, 0).port(1);
    let ports = ports.within(set::LOOPBACK_PORTS, 0, true);
    let forged = loopback(ip("forged source").source(Family::Ip, 0));
    let forged = forged.meta(Meta::In, 0).within(set::BRIDGES, 0, true);
    vec![
        ("early", ports.verdict(&Verdict::Drop)),
        ("early", forged.verdict(&Verdict::Drop)),
    ]
}

/// Published ports.
fn destinations() -> Vec<(&'static str, Rule)> {
    let jump = Verdict::Jump(PUBLISHED.to_owned());
    let mut rules = Vec::new();
    for chain in ["prerouting", "output"] {
        let rule = Rule::new("to this host").to_this_host();
        rules.push((chain, rule.verdict(&jump)));
    }
    // What is for loopback is left to the listeners.
    let rule = loopback(
        Rule::new("loopback")
            .family(Family::Ip)
            .destination(Family::Ip, 0),
    );
    rules.push((PUBLISHED, rule.verdict(&Verdict::Return)));
    let mut localhost = [0; 16];
    localhost[15] = 1;
    let rule = Rule::new("loopback").family(Family::Ip6);
    let rule = rule.destination(Family::Ip6, 0).equal(0, &localhost);
    rules.push((PUBLISHED, rule.verdict(&Verdict::Return)));
    for (at, family) in VERSIONS {
        let words = if at == 0 { 1 } else { 4 };
        let one = Rule::new("ports of one address").family(family);
        let one = one.destination(family, 0).port(words);
        let one = one.map(set::ADDRESS_PORTS[at], 0, 0);
        rules.push((PUBLISHED, one.change_destination(family, 0, words)));
        let every = Rule::new("ports of every address").family(family);
        let every = every.port(0).map(set::PORTS[at], 0, 0);
        rules.push((PUBLISHED, every.change_destination(family, 0, words)));
    }
    rules
}

/// Masquerading.
fn sources() -> Vec<(&'static str, Rule)> {
    let mut rules = Vec::new();
    for (at, family) in VERSIONS {
        // The answer must come back through this host, and not straight from container to container.
        let rule = Rule::new("container to published port").family(family);
        let rule = rule
            .ct(Ct::Status, 0)
            .any_bit(0, DESTINATION_CHANGED)
            .source(family, 0)
            .within(set::SUBNETS[at], 0, true)
            .meta(Meta::Out, 0)
            .within(set::BRIDGES, 0, true);
        rules.push(("postrouting", rule.masquerade()));
    }
    for (at, family) in VERSIONS {
        let rule = Rule::new("container to elsewhere").family(family);
        let rule = rule
            .source(family, 0)
            .within(set::HIDDEN[at], 0, true)
            .meta(Meta::Out, 0)
            .within(set::BRIDGES, 0, false)
            .destination(family, 0);
        // Multicast and limited broadcast keep their source.
        let rule = if at == 0 {
            rule.differs(0, &[255; 4])
                .mask(0, &[0xf0, 0, 0, 0])
                .differs(0, &[0xe0, 0, 0, 0])
        } else {
            let mut first = [0; 16];
            first[0] = 0xff;
            rule.mask(0, &first).differs(0, &first)
        };
        rules.push(("postrouting", rule.masquerade()));
    }
    rules
}

/// Who may talk with whom. What is not from or to one of our bridges passes, as if we were not there.
fn forward() -> Vec<(&'static str, Rule)> {
    let known = Rule::new("known connections").ct(Ct::State, 0);
    let known = known.any_bit(0, ESTABLISHED | RELATED);
    let words = (NAME_LENGTH / 4) as u32;
    let together = Rule::new("within one network").meta(Meta::In, 0);
    let together = together.meta(Meta::Out, words);
    let together = together.within(set::TOGETHER, 0, true);
    let internal = Rule::new("out of internal networks").meta(Meta::In, 0);
    let internal = internal.within(set::INTERNAL, 0, true);
    let into = Rule::new("into networks").meta(Meta::Out, 0);
    let published = Rule::new("published ports").ct(Ct::Status, 0);
    let published = published.any_bit(0, DESTINATION_CHANGED);
    let mut rules = vec![
        ("forward", known.verdict(&Verdict::Accept)),
        ("forward", together.verdict(&Verdict::Accept)),
        ("forward", internal.verdict(&Verdict::Drop)),
        ("forward", into.verdict_map(set::INTO, 0)),
        (PROTECTED, published.verdict(&Verdict::Accept)),
        (
            PROTECTED,
            Rule::new("everything else").verdict(&Verdict::Drop),
        ),
    ];
    for (at, family) in VERSIONS {
        let routed = Rule::new("routed").family(family);
        let other = Rule::new("the other family");
        rules.extend([
            (ROUTED[at], routed.verdict(&Verdict::Accept)),
            (
                ROUTED[at],
                other.verdict(&Verdict::Jump(PROTECTED.to_owned())),
            ),
        ]);
    }
    rules
}

/// Adds everything to a batch in which the table is new.
pub fn build(batch: &mut Batch, table: &str) {
    for set in sets() {
        batch.add_set(FAMILY, table, &set);
    }
    for chain in chains() {
        batch.add_chain(FAMILY, table, &chain);
    }
    for (chain, rule) in rules() {
        batch.add_rule(FAMILY, table, chain, &rule);
    }
}

/// These rules, chains and sets are all that a table of ours has; of the chains only those of the table are looked at.
#[must_use]
pub fn is_of(table: &str, rules: Vec<Known>, found: Vec<Found>, sets: &[Set]) -> bool {
    let expected = self::sets();
    if sets.len() != expected.len() || expected.iter().any(|set| !sets.contains(set)) {
        return false;
    }
    let mut ours: Vec<(String, String)> = self::rules()
        .into_iter()
        .map(|(chain, rule)| (chain.to_owned(), rule.tag()))
        .collect();
    let mut theirs: Vec<(String, String)> = rules
        .into_iter()
        .map(|rule| (rule.chain, rule.comment))
        .collect();
    // The order matters within a chain only; the sorting keeps it.
    ours.sort_by(|a, b| a.0.cmp(&b.0));
    theirs.sort_by(|a, b| a.0.cmp(&b.0));
    let chains: Vec<Chain> = found
        .into_iter()
        .filter(|found| found.family == FAMILY && found.table == table)
        .map(|found| found.chain)
        .collect();
    let expected = self::chains();
    ours == theirs
        && chains.len() == expected.len()
        && expected.iter().all(|chain| chains.contains(chain))
}
