//! Who has which name and address, kept as the live files have it.
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use minidock_core::net::live::{self, Endpoint, Network};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::Link;

/// A container on one of the networks: the network's number, and the name of the endpoint's file.
type Key = (usize, Rc<str>);

/// What a watch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The directory that the network's will be in.
    Above,
    /// The network's directory.
    Network,
    /// Its endpoints.
    Endpoints,
}

#[derive(Debug)]
struct Place {
    dir: PathBuf,
    /// The network's name in lower case, with a dot before it; empty until it is known.
    suffix: Vec<u8>,
    /// The directory of endpoints as it was when it was read, and when that was. Only without inotify.
    seen: Option<(Stamp, SystemTime)>,
}

/// Device, inode and time of the last change.
type Stamp = (u64, u64, SystemTime);

/// The clock of file times goes in steps; what was changed so shortly before it was read may have been changed again after.
const CLOCK_STEP: Duration = Duration::from_millis(50);

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nobody has it.
    Nobody,
    /// Somebody has it, and these addresses of the family.
    Addresses(Vec<IpAddr>),
}

/// The table.
#[derive(Debug)]
pub struct Names {
    /// A user may have few of them (fs.inotify.max_user_instances); without, the directories are looked at each time.
    inotify: Option<OwnedFd>,
    watches: Vec<(i32, usize, Level)>,
    networks: Vec<Place>,
    endpoints: HashMap<Key, Endpoint>,
    by_name: HashMap<Vec<u8>, Vec<Key>>,
    by_address: HashMap<IpAddr, Vec<Key>>,
    /// The network's number, the container's own name for somebody there, and what everybody calls that one; in lower
    /// case.
    links: Vec<(usize, Vec<u8>, Vec<u8>)>,
    /// Which of several addresses comes first next time.
    turn: usize,
}

impl Names {
    /// Reads the live files below the directories of networks, some of which may not exist yet.
    #[must_use]
    pub fn new(networks: &[PathBuf], links: &[Link]) -> Self {
        let lower = |name: &str| name.to_ascii_lowercase().into_bytes();
        let links = links.iter().filter_map(|link| {
            let network = networks.iter().position(|dir| *dir == link.network)?;
            Some((network, lower(&link.alias), lower(&link.name)))
        });
        let links = links.collect();
        let networks = networks.iter().map(|dir| Place {
            dir: dir.clone(),
            suffix: Vec::new(),
            seen: None,
        });
        let mut names = Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok(),
            watches: Vec::new(),
            networks: networks.collect(),
            endpoints: HashMap::new(),
            by_name: HashMap::new(),
            by_address: HashMap::new(),
            links,
            turn: 0,
        };
        names.read_all();
        names
    }

    /// Readable when something has changed.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// The addresses of a name in lower case, of one family: those on the first network where there are any.
    pub fn find(&mut self, name: &[u8], v6: bool) -> Found {
        let linked: Vec<&Key> = self.linked(name).collect();
        let keys = match self.by_name.get(name) {
            _ if !linked.is_empty() => linked,
            Some(keys) => keys.iter().collect(),
            None => return Found::Nobody,
        };
        let mut found: Vec<(usize, IpAddr)> = keys
            .into_iter()
            .filter_map(|key| Some((key.0, self.endpoints.get(key)?)))
            .flat_map(|(network, endpoint)| endpoint.addresses.iter().map(move |ip| (network, *ip)))
            .filter(|(_, ip)| ip.is_ipv6() == v6)
            .collect();
        found.sort_unstable();
        found.dedup();
        let first = found.first().map_or(0, |(network, _)| *network);
        found.retain(|(network, _)| *network == first);
        if !found.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let by = self.turn % found.len();
            found.rotate_left(by);
        }
        Found::Addresses(found.into_iter().map(|(_, ip)| ip).collect())
    }

    /// Who is called so by this container only.
    fn linked(&self, name: &[u8]) -> impl Iterator<Item = &Key> {
        let links = self.links.iter().filter(move |(network, alias, _)| {
            name.strip_prefix(&alias[..])
                .is_some_and(|rest| rest.is_empty() || rest == self.networks[*network].suffix)
        });
        links.flat_map(|(network, _, target)| {
            let keys = self.by_name.get(target).into_iter().flatten();
            keys.filter(move |key| key.0 == *network)
        })
    }

    /// The name of who has an address, with that of its network.
    pub fn name_of(&self, ip: IpAddr) -> Option<Vec<u8>> {
        let key = self.by_address.get(&ip)?.iter().min()?;
        let name = self.endpoints.get(key)?.names.first()?;
        let mut full = name.as_bytes().to_vec();
        full.extend_from_slice(&self.networks.get(key.0)?.suffix);
        Some(full)
    }

    /// Takes in what has changed.
    pub fn refresh(&mut self) {
        let Some(inotify) = &self.inotify else {
            self.compare();
            return;
        };
        let mut changes: Vec<(i32, ReadFlags, String)> = Vec::new();
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut lost = false;
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().and_then(|name| name.to_str().ok());
            changes.push((
                event.wd(),
                event.events(),
                name.unwrap_or_default().to_owned(),
            ));
        }
        if lost {
            self.read_all();
            return;
        }
        for (watch, events, name) in changes {
            let concerned: Vec<_> = self
                .watches
                .iter()
                .filter(|(number, ..)| *number == watch)
                .map(|(_, network, level)| (*network, *level))
                .collect();
            if events.contains(ReadFlags::IGNORED) {
                self.watches.retain(|(number, ..)| *number != watch);
            }
            for (network, level) in concerned {
                self.take(network, level, events, &name);
            }
        }
    }

    /// Reads directories that are not as they were.
    fn compare(&mut self) {
        for network in 0..self.networks.len() {
            let place = &self.networks[network];
            let stamp = stamp(&place.dir.join("endpoints"));
            let same = match (place.seen, stamp) {
                (Some((before, read)), Some(now)) => before == now && before.2 + CLOCK_STEP < read,
                (None, None) => true,
                _ => false,
            };
            if !same {
                self.read_network(network);
            }
        }
    }

    fn take(&mut self, network: usize, level: Level, events: ReadFlags, name: &str) {
        let gone = ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        if events.intersects(gone) || level != Level::Endpoints {
            let dir = self.networks[network].dir.file_name();
            let matters = match level {
                Level::Above => dir.is_some_and(|dir| dir == name),
                _ => matches!(name, "endpoints" | "network.json"),
            };
            if events.intersects(gone) || matters {
                self.read_network(network);
            }
            return;
        }
        if name.is_empty() || name.starts_with('.') {
            return;
        }
        let key = (network, Rc::from(name));
        if events.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            self.remove(&key);
        } else {
            let path = self.networks[network].dir.join("endpoints").join(name);
            self.read_endpoint(key, &path);
        }
    }

    fn read_all(&mut self) {
        for network in 0..self.networks.len() {
            self.read_network(network);
        }
    }

    /// Everything about a network anew.
    fn read_network(&mut self, network: usize) {
        let keys: Vec<Key> = self
            .endpoints
            .keys()
            .filter(|key| key.0 == network)
            .cloned()
            .collect();
        for key in keys {
            self.remove(&key);
        }
        let dir = self.networks[network].dir.clone();
        let endpoints = dir.join("endpoints");
        // Watched before it is read: what changes in between is seen twice rather than not at all.
        if !self.watch(&dir, network, Level::Network)
            && let Some(above) = dir.parent()
        {
            self.watch(above, network, Level::Above);
            self.watch(&dir, network, Level::Network);
        }
        self.watch(&endpoints, network, Level::Endpoints);
        self.networks[network].seen = stamp(&endpoints).map(|stamp| (stamp, SystemTime::now()));
        let read: minidock_core::Result<Network> = live::read(&dir.join("network.json"));
        self.networks[network].suffix = match read {
            Ok(network) if !network.name.is_empty() => {
                format!(".{}", network.name.to_ascii_lowercase()).into_bytes()
            }
            _ => Vec::new(),
        };
        let Ok(entries) = std::fs::read_dir(&endpoints) else {
            return;
        };
        for entry in entries.filter_map(std::result::Result::ok) {
            if let Ok(name) = entry.file_name().into_string()
                && !name.starts_with('.')
            {
                self.read_endpoint((network, name.into()), &entry.path());
            }
        }
    }

    fn watch(&mut self, dir: &Path, network: usize, level: Level) -> bool {
        let made = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        let flags = match level {
            Level::Above | Level::Network => made,
            Level::Endpoints => {
                let changed = WatchFlags::CLOSE_WRITE | WatchFlags::DELETE | WatchFlags::MOVED_FROM;
                WatchFlags::MOVED_TO | changed | WatchFlags::ONLYDIR
            }
        };
        let flags = flags | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let added = self
            .inotify
            .as_ref()
            .map(|fd| inotify::add_watch(fd, dir, flags));
        let Some(Ok(number)) = added else {
            return false;
        };
        let watch = (number, network, level);
        if !self.watches.contains(&watch) {
            self.watches.push(watch);
        }
        true
    }

    /// What cannot be read is not there.
    fn read_endpoint(&mut self, key: Key, path: &Path) {
        self.remove(&key);
        let Ok(mut endpoint) = live::read::<Endpoint>(path) else {
            return;
        };
        // There may be thousands: what is not looked up is not kept.
        endpoint.container = String::new();
        endpoint.ports = Vec::new();
        for name in self.names_of(key.0, &endpoint) {
            let keys = self.by_name.entry(name).or_default();
            if !keys.contains(&key) {
                keys.push(key.clone());
            }
        }
        for ip in &endpoint.addresses {
            self.by_address.entry(*ip).or_default().push(key.clone());
        }
        self.endpoints.insert(key, endpoint);
    }

    fn remove(&mut self, key: &Key) {
        let Some(endpoint) = self.endpoints.remove(key) else {
            return;
        };
        for name in self.names_of(key.0, &endpoint) {
            forget(&mut self.by_name, &name, key);
        }
        for ip in &endpoint.addresses {
            forget(&mut self.by_address, ip, key);
        }
    }

    /// Each name alone, and with that of the network.
    fn names_of(&self, network: usize, endpoint: &Endpoint) -> Vec<Vec<u8>> {
        let suffix = &self.networks[network].suffix;
        let mut names = Vec::with_capacity(endpoint.names.len() * 2);
        for name in &endpoint.names {
            let name = name.to_ascii_lowercase().into_bytes();
            if !suffix.is_empty() {
                names.push([&name[..], suffix].concat());
            }
            names.push(name);
        }
        names
    }
}

fn stamp(dir: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(dir).ok()?;
    Some((found.dev(), found.ino(), found.modified().ok()?))
}

fn forget<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<Key>>, of: &K, key: &Key) {
    if let Some(keys) = map.get_mut(of) {
        keys.retain(|held| held != key);
        if keys.is_empty() {
            map.remove(of);
        }
    }
}
