//! Our nf_tables table: what it takes to publish ports, to hide containers behind the host, and to keep networks apart.
//!
//! All of it can be made anew from the live files of the networks. Therefore a caller writes its file first, and changes the
//! table then; and removes its file first, and takes its elements out then: whoever builds the table meanwhile sees that the
//! rules have changed since it read the files, and reads them again.
mod dns;
mod elements;
mod forward;
mod layout;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub use self::dns::{ADDRESS as NAME_SERVER, redirect as redirect_dns};
use self::elements::Placed;
use self::layout::FAMILY;
use super::live::{self, Network, Published};
use super::nft::read::{self, Element};
use super::nft::{Batch, Socket, conntrack, socket};
use crate::error::{Context, Error, Kind, Result};

/// How often something is tried again because rules were changed by others meanwhile.
const TRIES: u32 = 50;

/// The table of one run root, in the network namespace of the calling thread.
///
/// It keeps a socket from its first use on; see [`Socket`] for when it is well dropped.
pub struct Firewall {
    table: String,
    socket: OnceCell<Socket>,
}

/// What there is of the table.
enum State {
    Absent,
    /// Something is missing or too much, other than elements.
    Damaged,
    Whole(BTreeSet<Placed>),
}

impl Firewall {
    /// The table of a name, which need not exist.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            socket: OnceCell::new(),
        }
    }

    /// The name of the table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    fn socket(&self) -> Result<&Socket> {
        if let Some(socket) = self.socket.get() {
            return Ok(socket);
        }
        let socket = Socket::open()?;
        Ok(self.socket.get_or_init(|| socket))
    }

    /// Makes the table what the live files below `networks` say, with as few changes as possible; true if there were any.
    pub fn ensure(&self, networks: &Path) -> Result<bool> {
        let _lock = lock(networks, FlockOperation::LockExclusive)?;
        self.make(self.socket()?, networks, false)
    }

    /// The same, but `Busy` if another process is at it.
    pub fn try_ensure(&self, networks: &Path) -> Result<bool> {
        let _lock = lock(networks, FlockOperation::NonBlockingLockExclusive)?;
        self.make(self.socket()?, networks, false)
    }

    /// Makes the table anew from the live files, in one transaction: no packet meets a table that is half there.
    pub fn rebuild(&self, networks: &Path) -> Result<()> {
        let _lock = lock(networks, FlockOperation::LockExclusive)?;
        self.make(self.socket()?, networks, true).map(|_| ())
    }

    /// The table is what the live files say, and nobody else's chains are in its way that could be asked not to be.
    #[cfg(test)]
    pub(crate) fn verify(&self, networks: &Path) -> Result<bool> {
        let socket = self.socket()?;
        let expected = elements::of_all(&live::all(networks)?);
        let as_expected = matches!(self.state(socket)?, State::Whole(found) if found == expected);
        Ok(as_expected && forward::is_open(socket, &self.table)?)
    }

    /// Adds networks and published ports, together. What is there already is no error; a port that leads elsewhere is
    /// taken over. Where the table is missing or damaged it is made from the files, which must say the same.
    pub fn add(&self, networks: &Path, added: &[Network], ports: &[Published]) -> Result<()> {
        match self.add_elements(added, ports) {
            Err(e) if matches!(e.kind, Kind::NotFound | Kind::Conflict) => {
                self.ensure(networks).map(|_| ())
            }
            other => other,
        }
    }

    /// Publishes ports. What is published already is no error; a port that leads elsewhere is taken over. Fails with
    /// `NotFound` without the table: `ensure` then.
    pub fn publish(&self, ports: &[Published]) -> Result<()> {
        self.add_elements(&[], ports)
    }

    fn add_elements(&self, networks: &[Network], ports: &[Published]) -> Result<()> {
        let mut add = elements::of_networks(networks);
        add.extend(ports.iter().filter_map(elements::of_port));
        if add.is_empty() {
            return Ok(());
        }
        let socket = self.socket()?;
        self.change(socket, add, BTreeSet::new())?;
        if !networks.is_empty() {
            forward::open(socket, &self.table)?;
        }
        Ok(())
    }

    /// Takes networks out. What is not there is no error.
    pub fn remove_networks(&self, networks: &[Network]) -> Result<()> {
        let socket = self.socket()?;
        self.change(socket, BTreeSet::new(), elements::of_networks(networks))?;
        forward::open(socket, &self.table).map(|_| ())
    }

    /// Leads datagrams that are under way to published ports there: those that somebody began to send before. Where there are
    /// UDP ports the kernel goes through all connections, for up to some 20 ms: better after the container has started.
    pub fn redirect_strays(&self, ports: &[Published]) -> Result<()> {
        conntrack::forget(self.socket()?, ports, true)
    }

    /// Takes published ports out, whatever they lead to. What is not there is no error. With UDP ports it takes as long as
    /// [`Firewall::redirect_strays`].
    pub fn unpublish(&self, ports: &[Published]) -> Result<()> {
        let remove: BTreeSet<Placed> = ports.iter().filter_map(elements::of_port).collect();
        if remove.is_empty() {
            return Ok(());
        }
        let socket = self.socket()?;
        self.change(socket, BTreeSet::new(), remove)?;
        // A kernel that cannot be asked keeps what is under way, until nobody has sent for a while.
        let _ = conntrack::forget(socket, ports, false);
        Ok(())
    }

    /// Deletes the table, and what it has put into others'. It is no error if there is none.
    pub fn remove(&self) -> Result<()> {
        let socket = self.socket()?;
        forward::close(socket, &self.table)?;
        let mut batch = Batch::new(None);
        batch.delete_table(FAMILY, &self.table);
        match socket.commit(batch)?.first() {
            Some(refused) if refused.errno != libc::ENOENT => {
                Err(self.failed("remove firewall", refused.errno))
            }
            _ => Ok(()),
        }
    }

    /// What of others' keeps containers from being reached, or from reaching, and cannot be changed here: a line for each.
    pub fn problems(&self) -> Result<Vec<String>> {
        forward::problems(self.socket()?, &self.table)
    }

    /// Others' chains that drop what is forwarded, in words, and whether they let pass what is ours. Without a network of ours
    /// there is nothing to let pass: they do.
    pub fn others(&self) -> Result<Vec<(String, bool)>> {
        forward::chains(self.socket()?, &self.table)
    }

    fn failed(&self, op: &'static str, errno: i32) -> Error {
        socket::error(op, &self.table, errno)
    }

    fn state(&self, socket: &Socket) -> Result<State> {
        match self.read_state(socket) {
            // It was deleted meanwhile, or one of its sets.
            Err(e) if e.kind == Kind::NotFound => Ok(State::Damaged),
            other => other,
        }
    }

    fn read_state(&self, socket: &Socket) -> Result<State> {
        match read::is_awake(socket, FAMILY, &self.table)? {
            None => return Ok(State::Absent),
            Some(false) => return Ok(State::Damaged),
            Some(true) => {}
        }
        let rules = read::rules(socket, FAMILY, &self.table, "")?;
        let sets = read::sets(socket, FAMILY, &self.table)?;
        if !layout::is_of(&self.table, rules, read::chains(socket)?, &sets) {
            return Ok(State::Damaged);
        }
        let mut found = BTreeSet::new();
        for name in layout::set::ALL {
            let elements = read::elements(socket, FAMILY, &self.table, name)?;
            found.extend(elements.into_iter().map(|element| (name, element)));
        }
        Ok(State::Whole(found))
    }

    /// Makes the table what the files say; true if it was changed. The caller has the lock.
    fn make(&self, socket: &Socket, networks: &Path, anew: bool) -> Result<bool> {
        let mut anew = anew;
        let mut errno = 0;
        for attempt in 0..TRIES {
            // In the end it does not matter what others do meanwhile.
            let generation = socket.generation()?;
            let mut batch = Batch::new((attempt < TRIES / 2).then_some(generation));
            let expected = elements::of_all(&live::all(networks)?);
            match self.state(socket)? {
                State::Whole(found) if !anew => {
                    // What is to be mapped to something else is deleted, and then added.
                    delete(&mut batch, &self.table, found.difference(&expected));
                    add(&mut batch, &self.table, expected.difference(&found));
                }
                state => {
                    if !matches!(state, State::Absent) {
                        batch.add_table(FAMILY, &self.table);
                        batch.delete_table(FAMILY, &self.table);
                    }
                    batch.create_table(FAMILY, &self.table);
                    layout::build(&mut batch, &self.table);
                    add(&mut batch, &self.table, expected.iter());
                }
            }
            let changed = !batch.is_empty();
            let refused = match changed {
                true => socket.commit(batch)?,
                false => Vec::new(),
            };
            let Some(first) = refused.first() else {
                return Ok(forward::open(socket, &self.table)? | changed);
            };
            errno = first.errno;
            if errno == libc::EPERM || (anew && errno != libc::ERESTART && errno != libc::EEXIST) {
                break;
            }
            // Another reason than others' changes: what there is cannot be changed to what is to be.
            anew |= errno != libc::ERESTART;
        }
        // All that is named is in the batch: what does not exist is an expression or a kind of chain.
        let missing = errno == libc::ENOENT;
        let errno = if missing { libc::EOPNOTSUPP } else { errno };
        Err(self.failed("make firewall", errno))
    }

    /// Adds and removes elements, in one transaction.
    fn change(
        &self,
        socket: &Socket,
        mut add_these: BTreeSet<Placed>,
        mut remove: BTreeSet<Placed>,
    ) -> Result<()> {
        let mut replace: BTreeSet<Placed> = BTreeSet::new();
        for _ in 0..TRIES {
            let mut batch = Batch::new(None);
            let removed = delete(&mut batch, &self.table, remove.iter());
            delete(&mut batch, &self.table, replace.iter());
            let added = add(&mut batch, &self.table, add_these.iter());
            if batch.is_empty() {
                return Ok(());
            }
            let refused = socket.commit(batch)?;
            if refused.is_empty() {
                return Ok(());
            }
            let (mut gone, mut taken) = (Vec::new(), Vec::new());
            for refusal in refused {
                let of = |first: u32, all: &BTreeSet<Placed>| {
                    let at = refusal.message.checked_sub(first)?;
                    all.iter().nth(at as usize).cloned()
                };
                match (of(added, &add_these), of(removed, &remove), refusal.errno) {
                    (None, Some(placed), libc::ENOENT) => gone.push(placed),
                    // Replaced by others meanwhile.
                    (None, None, libc::ENOENT) => replace.clear(),
                    (Some(placed), _, libc::EEXIST | libc::EBUSY | libc::ENOTEMPTY) => {
                        // Other data can be replaced; an overlap of ranges cannot.
                        if matches!(placed.1.data, super::nft::Data::None) {
                            return Err(self.failed("change firewall", libc::EEXIST));
                        }
                        taken.push(placed);
                    }
                    _ => return Err(self.failed("change firewall", refusal.errno)),
                }
            }
            for placed in gone {
                remove.remove(&placed);
            }
            replace.extend(taken);
            add_these.extend(replace.iter().cloned());
        }
        Err(self.failed("change firewall", libc::EBUSY))
    }
}

/// Adds elements to a batch; gives the number of the first message, one for each.
fn add<'a>(batch: &mut Batch, table: &str, elements: impl Iterator<Item = &'a Placed>) -> u32 {
    let first = batch.next();
    for (set, Element { key, start, data }) in elements {
        let element = std::iter::once((&key[..], *start, data));
        batch.add_elements(FAMILY, table, set, element);
    }
    first
}

/// As [`add`], for the removal.
fn delete<'a>(batch: &mut Batch, table: &str, elements: impl Iterator<Item = &'a Placed>) -> u32 {
    let first = batch.next();
    for (set, Element { key, start, .. }) in elements {
        batch.delete_elements(FAMILY, table, set, std::iter::once((&key[..], *start)));
    }
    first
}

/// Takes the lock under which tables are built; `Busy` if it is taken and not waited for.
fn lock(networks: &Path, operation: FlockOperation) -> Result<OwnedFd> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let path = networks.join(".firewall");
    let shown = || path.display().to_string();
    let mut options = File::options();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = match options.open(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let mut builder = std::fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(networks);
            made.context("make directory", || networks.display().to_string())?;
            options.open(&path)
        }
        other => other,
    };
    let file = file.context("open", shown)?;
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(file.into()),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                let why = "another process changes the firewall";
                return Err(Error::new(Kind::Busy, "lock", shown(), why));
            }
            Err(e) => return Err(e).context("lock", shown),
        }
    }
}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
