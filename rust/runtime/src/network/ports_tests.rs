use std::net::{TcpListener, TcpStream, UdpSocket};

use minidock_core::namespace::loopback_up;
use nix::sched::{CloneFlags, unshare};

use super::*;

/// In a network namespace with nothing but loopback in it.
fn in_namespace(what: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        loopback_up().unwrap();
        what();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn wanted(protocol: Protocol, ip: &str, first: u16, last: u16) -> Wanted {
    Wanted {
        protocol,
        container_port: 80,
        host_ip: (!ip.is_empty()).then(|| ip.parse().unwrap()),
        host_port: first,
        host_port_end: last,
    }
}

fn refused(wanted: Wanted) -> (Kind, String) {
    let error = bind(&[wanted]).unwrap_err();
    (error.kind, error.to_string())
}

#[test]
fn a_port_without_address_is_one_number_of_both_families() {
    in_namespace(|| {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for port in [0, 8080] {
                let bound = bind(&[wanted(protocol, "", port, port)]).unwrap();
                let ips: Vec<String> = bound.iter().map(|b| b.host_ip.to_string()).collect();
                assert_eq!(ips, ["0.0.0.0", "::"]);
                let number = bound[0].host_port;
                assert!(number != 0 && bound[1].host_port == number);
                assert!(port == 0 || number == port);
            }
        }
        let bound = bind(&[wanted(Protocol::Tcp, "", 8080, 8080)]).unwrap();
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            TcpStream::connect((ip, 8080)).unwrap();
        }
        assert!(
            bound
                .iter()
                .all(|b| b.socket.is_some() && b.container_port == 80)
        );
        let bound = bind(&[wanted(Protocol::Tcp, "::1", 0, 0)]).unwrap();
        assert_eq!(bound.len(), 1);
    });
}

#[test]
fn any_port_is_one_that_is_free_in_both_families() {
    in_namespace(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40063").unwrap();
        let take = |port| tcp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).unwrap();
        // The kernel chooses among the odd ports of the lower half as long as one of them is free.
        let mut taken: Vec<OwnedFd> = (40_000..40_016).map(take).collect();
        for _ in 0..4 {
            taken.extend(
                bind(&[wanted(Protocol::Tcp, "", 0, 0)])
                    .unwrap()
                    .into_iter()
                    .map(|bound| {
                        assert!(bound.host_port >= 40_016);
                        bound.socket.unwrap()
                    }),
            );
        }
        taken.clear();
        taken.extend((40_000..=40_063).map(take));
        let (kind, text) = refused(wanted(Protocol::Tcp, "", 0, 0));
        assert_eq!(kind, Kind::Conflict);
        assert!(text.ends_with(":0/tcp: no port is free"), "{text}");
    });
}

#[test]
fn the_first_free_port_of_a_range_is_taken() {
    in_namespace(|| {
        let range = || wanted(Protocol::Udp, "127.0.0.1", 5000, 5002);
        let bound = bind(&[range(), range(), range()]).unwrap();
        let numbers: Vec<u16> = bound.iter().map(|b| b.host_port).collect();
        assert_eq!(numbers, [5000, 5001, 5002]);
        let (kind, text) = refused(range());
        assert_eq!(kind, Kind::Conflict);
        let expected =
            "failed to bind host port 127.0.0.1:5000-5002/udp: all ports of it are in use";
        assert_eq!(text, expected);
    });
}

#[test]
fn a_conflict_names_the_holder_and_leaves_nothing_bound() {
    in_namespace(|| {
        let holder = TcpListener::bind("127.0.0.1:8080").unwrap();
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        let held = format!(
            " (held by {}, process {})",
            own.trim_end(),
            std::process::id()
        );
        for (ip, shown) in [("127.0.0.1", "127.0.0.1"), ("", "0.0.0.0")] {
            let first = wanted(Protocol::Tcp, "127.0.0.1", 9090, 0);
            let error = bind(&[first, wanted(Protocol::Tcp, ip, 8080, 8080)]).unwrap_err();
            let expected =
                format!("failed to bind host port {shown}:8080/tcp: address already in use{held}");
            assert_eq!((error.kind, error.to_string()), (Kind::Conflict, expected));
            drop(TcpListener::bind("127.0.0.1:9090").unwrap());
        }
        // Another address of the host is free.
        bind(&[wanted(Protocol::Tcp, "127.0.0.2", 8080, 0)]).unwrap();
        drop(holder);
        bind(&[wanted(Protocol::Tcp, "", 8080, 0)]).unwrap();

        let _holder = UdpSocket::bind("[::]:53").unwrap();
        let (kind, text) = refused(wanted(Protocol::Udp, "", 53, 53));
        assert_eq!(kind, Kind::Conflict);
        assert!(text.contains(&held), "{text}");
    });
}

#[test]
fn a_port_of_a_connection_that_is_over_is_free() {
    in_namespace(|| {
        let bound = bind(&[wanted(Protocol::Tcp, "127.0.0.1", 8080, 0)]).unwrap();
        let listener = TcpListener::from(bound.into_iter().next().unwrap().socket.unwrap());
        listener.set_nonblocking(false).unwrap();
        let client = TcpStream::connect("127.0.0.1:8080").unwrap();
        // Closed here first, so that TIME_WAIT is here.
        drop(listener.accept().unwrap());
        drop((client, listener));
        bind(&[wanted(Protocol::Tcp, "", 8080, 0)]).unwrap();
    });
}

#[test]
fn an_address_has_to_be_the_hosts() {
    in_namespace(|| {
        let (kind, text) = refused(wanted(Protocol::Tcp, "192.0.2.77", 8080, 0));
        assert_eq!(kind, Kind::Invalid);
        let start = "failed to bind host port 192.0.2.77:8080/tcp: cannot assign requested address";
        assert!(text.starts_with(start), "{text}");
    });
}

#[test]
fn without_privilege_a_low_port_is_refused() {
    in_namespace(|| {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::NET_BIND_SERVICE;
        // The thread's own, which ends with the test.
        set_capabilities(None, sets).unwrap();
        let (kind, text) = refused(wanted(Protocol::Tcp, "", 80, 80));
        assert_eq!(kind, Kind::Denied);
        assert_eq!(
            text,
            "failed to bind host port 0.0.0.0:80/tcp: permission denied: ports below \
             net.ipv4.ip_unprivileged_port_start (1024) need CAP_NET_BIND_SERVICE"
        );
    });
}

#[test]
fn sctp_has_no_listener() {
    in_namespace(|| {
        for port in [0, 7000] {
            let bound = bind(&[wanted(Protocol::Sctp, "", port, port)]).unwrap();
            assert_eq!(bound.len(), 2);
            assert!(bound.iter().all(|b| b.socket.is_none()));
            assert!(bound[0].host_port != 0 && bound[0].host_port == bound[1].host_port);
        }
    });
}

#[test]
fn the_document_has_ports_like_this() {
    let json = r#"{"protocol":"tcp","container_port":80,"host_ip":"","host_port":8080,"host_port_end":8090}"#;
    let port: Wanted = serde_json::from_str(json).unwrap();
    assert_eq!(port, wanted(Protocol::Tcp, "", 8080, 8090));
    let json = r#"{"protocol":"udp","container_port":80,"host_ip":"::1"}"#;
    let port: Wanted = serde_json::from_str(json).unwrap();
    assert_eq!(port, wanted(Protocol::Udp, "::1", 0, 0));
}
