//! Networks of containers: interfaces, addresses and routes by netlink, packet filter and NAT by nf_tables.
pub mod bridge;
pub mod endpoint;
pub mod firewall;
pub mod guard;
pub mod live;
pub mod nft;
pub mod route;
#[cfg(test)]
mod testnet;

/// Calls `test` in a network namespace of its own, in a thread that ends with it.
#[cfg(test)]
pub(crate) fn in_new_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("needs root");
            test()
        });
        run.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
