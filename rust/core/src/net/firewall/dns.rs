//! In a container's network namespace: what is for the name server's address goes to where it listens.
use crate::error::Result;
use crate::net::nft::expr::{Base, Meta};
use crate::net::nft::{Batch, Chain, Family, Hook, Rule, Socket, socket};

/// Where containers look names up.
pub const ADDRESS: [u8; 4] = [127, 0, 0, 11];
/// Its table, in the namespace of a container.
const TABLE: &str = "minidock";
const PORT: u16 = 53;

/// Leads port 53 of 127.0.0.11 to other ports there, in the network namespace of the calling thread; replaces what an
/// earlier call did. The container's own port 53 remains its own.
pub fn redirect(udp: u16, tcp: u16) -> Result<()> {
    let socket = Socket::open()?;
    // To replace something costs more than to make it, and it is rarely there.
    for replace in [false, true] {
        match socket.commit(batch(replace, udp, tcp))?.first() {
            None => return Ok(()),
            Some(refused) if refused.errno == libc::EEXIST && !replace => {}
            Some(refused) => {
                return Err(socket::error("redirect name server", "", refused.errno));
            }
        }
    }
    Ok(())
}

fn batch(replace: bool, udp: u16, tcp: u16) -> Batch {
    let family = Family::Ip;
    let mut batch = Batch::new(None);
    if replace {
        batch.add_table(family, TABLE);
        batch.delete_table(family, TABLE);
    }
    batch.create_table(family, TABLE);
    let chain = Chain {
        name: "names".to_owned(),
        hook: Some(Hook {
            kind: "nat".to_owned(),
            number: 3,
            priority: -100,
            accept: true,
        }),
    };
    batch.add_chain(family, TABLE, &chain);
    for (protocol, port) in [(17, udp), (6, tcp)] {
        let rule = Rule::new("name server")
            .destination(family, 0)
            .equal(0, &ADDRESS)
            .meta(Meta::Protocol, 0)
            .equal(0, &[protocol])
            .payload(Base::Transport, 2, 2, 0)
            .equal(0, &PORT.to_be_bytes())
            .load(&ADDRESS, 0)
            .load(&port.to_be_bytes(), 1)
            .change_destination(family, 0, 1);
        batch.add_rule(family, TABLE, &chain.name, &rule);
    }
    batch
}
