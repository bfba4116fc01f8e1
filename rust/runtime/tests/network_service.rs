//! The process that serves, from its first packet to its end. Each case is a process in a network namespace of its own.
mod network;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use minidock_core::namespace::loopback_up;
use minidock_core::net::live::Protocol;
use minidock_core::sys;
use minidock_runtime::network::ports;
use minidock_runtime::network::{Dns, Service, Targets, dns};
use network::names::{Answer, query};
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

fn main() {
    let cases: [(&str, fn()); 10] = [
        ("ends_when_idle", ends_when_idle),
        ("killed_it_is_replaced", killed_it_is_replaced),
        (
            "killed_often_it_is_given_time",
            killed_often_it_is_given_time,
        ),
        (
            "other_targets_are_for_new_connections",
            other_targets_are_for_new_connections,
        ),
        (
            "without_target_who_connects_waits",
            without_target_who_connects_waits,
        ),
        ("dies_with_the_supervisor", dies_with_the_supervisor),
        ("has_only_what_it_needs", has_only_what_it_needs),
        ("at_the_limit_others_wait", at_the_limit_others_wait),
        ("the_end_is_the_end", the_end_is_the_end),
        ("serves_names", serves_names),
    ];
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let mut failed = 0;
    for (name, case) in cases {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let Some(pid) = sys::fork().unwrap() else {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            loopback_up().unwrap();
            let passed = std::panic::catch_unwind(case).is_ok();
            sys::exit_now(i32::from(!passed));
        };
        let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty())
            .unwrap()
            .unwrap();
        let passed = status.exit_status() == Some(0);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += i32::from(!passed);
    }
    std::process::exit(i32::from(failed > 0));
}

fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// A process with a service, which does what it is told by one letter.
struct Supervisor {
    pid: i32,
    orders: UnixStream,
}

impl Supervisor {
    fn start(mut service: Service, act: impl Fn(&mut Service, u8)) -> Self {
        let (orders, mut theirs) = UnixStream::pair().unwrap();
        let Some(pid) = sys::fork().unwrap() else {
            drop(orders);
            loop {
                let ordered = wait(&service, &theirs);
                let mut order = [0];
                if ordered {
                    if theirs.read(&mut order).unwrap() == 0 {
                        sys::exit_now(0);
                    }
                    act(&mut service, order[0]);
                    theirs.write_all(b".").unwrap();
                }
                service.wake(now());
            }
        };
        Self { pid, orders }
    }

    fn order(&mut self, letter: u8) {
        self.orders.write_all(&[letter]).unwrap();
        self.orders.read_exact(&mut [0]).unwrap();
    }

    /// Its processes.
    fn children(&self) -> Vec<i32> {
        let all = std::fs::read_dir("/proc").unwrap();
        let pids = all.filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
        let is_child = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            let mut fields = rest.split(' ');
            fields.next() != Some("Z") && fields.next() == Some(&self.pid.to_string())
        };
        pids.filter(is_child).collect()
    }

    fn child(&self) -> i32 {
        let children = self.children();
        assert_eq!(children.len(), 1, "{children:?}");
        children[0]
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(self.pid).unwrap(), Signal::KILL);
        let _ = waitpid(Pid::from_raw(self.pid), WaitOptions::empty());
    }
}

/// Waits as the supervisor's loop does; true if there is an order.
fn wait(service: &Service, orders: &UnixStream) -> bool {
    let now = now();
    let mut fds = vec![PollFd::new(orders, PollFlags::IN)];
    fds.extend(
        service
            .fds(now)
            .map(|fd| PollFd::from_borrowed_fd(sys::borrow_fd(fd.as_raw_fd()), PollFlags::IN)),
    );
    let timeout = service.deadline_ms(now).map(|at| Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from((at - now).min(900)).unwrap() * 1_000_000,
    });
    poll(&mut fds, timeout.as_ref()).unwrap();
    !fds[0].revents().is_empty()
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < end, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that leads to a server on `ip`; both families' addresses are loopback's.
fn tcp(idle: Duration) -> (Service, SocketAddr, TcpListener) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = target.local_addr().unwrap().port();
    let mut wanted = network::wanted(Protocol::Tcp, "127.0.0.1:0".parse().unwrap());
    wanted.container_port = number;
    let bound = ports::bind(&[wanted]).unwrap();
    let address = SocketAddr::new(bound[0].host_ip, bound[0].host_port);
    let mut service = Service::with_idle(idle);
    service.set_ports(bound);
    service.set_targets(Targets::new(&["127.0.0.1".parse().unwrap()]));
    (service, address, target)
}

const LONG: Duration = Duration::from_secs(3600);

/// Connects, and says something through it in both directions.
fn talk(address: SocketAddr, target: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(address).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client.write_all(b"ping").unwrap();
    let (mut server, _) = target.accept().unwrap();
    say(&mut client, &mut server, true);
    (client, server)
}

fn say(client: &mut TcpStream, server: &mut TcpStream, said: bool) {
    let mut buffer = [0; 4];
    if !said {
        client.write_all(b"ping").unwrap();
    }
    server.read_exact(&mut buffer).unwrap();
    server.write_all(b"pong").unwrap();
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"pong");
}

fn ends_when_idle() {
    let (service, address, target) = tcp(Duration::from_millis(200));
    let supervisor = Supervisor::start(service, |_, _| {});
    std::thread::sleep(Duration::from_millis(100));
    assert!(supervisor.children().is_empty());
    for _ in 0..3 {
        let (client, server) = talk(address, &target);
        supervisor.child();
        drop((client, server));
        until(|| supervisor.children().is_empty());
    }
}

fn killed_it_is_replaced() {
    let (service, address, target) = tcp(LONG);
    let supervisor = Supervisor::start(service, |_, _| {});
    let (mut client, _server) = talk(address, &target);
    let first = supervisor.child();
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    assert!(client.read(&mut [0]).unwrap_or(0) == 0);
    talk(address, &target);
    assert_ne!(supervisor.child(), first);
}

fn killed_often_it_is_given_time() {
    let (service, address, target) = tcp(LONG);
    let supervisor = Supervisor::start(service, |_, _| {});
    let begun = Instant::now();
    for _ in 0..5 {
        talk(address, &target);
        kill_process(Pid::from_raw(supervisor.child()).unwrap(), Signal::KILL).unwrap();
        until(|| supervisor.children().is_empty());
    }
    talk(address, &target);
    // The pauses alone: 0.1, 0.2, 0.4 and 0.8 s.
    assert!(begun.elapsed() > Duration::from_millis(1400));
}

fn other_targets_are_for_new_connections() {
    let (service, address, target) = tcp(LONG);
    let number = target.local_addr().unwrap().port();
    let second = TcpListener::bind(("127.0.0.2", number)).unwrap();
    let mut supervisor = Supervisor::start(service, |service, _| {
        service.set_targets(Targets::new(&["127.0.0.2".parse().unwrap()]));
    });
    let (mut client, mut server) = talk(address, &target);
    let old = supervisor.child();
    supervisor.order(b't');
    let (mut client2, mut server2) = talk(address, &second);
    for _ in 0..3 {
        say(&mut client, &mut server, false);
        say(&mut client2, &mut server2, false);
    }
    assert_eq!(supervisor.children().len(), 2);
    drop((client, server));
    until(|| supervisor.children().len() == 1);
    assert_ne!(supervisor.child(), old);
}

fn without_target_who_connects_waits() {
    let (mut service, address, target) = tcp(LONG);
    service.set_targets(Targets::default());
    let mut supervisor = Supervisor::start(service, |service, _| {
        service.set_targets(Targets::new(&["127.0.0.1".parse().unwrap()]));
    });
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"ping").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(supervisor.children().is_empty());
    supervisor.order(b't');
    let (mut server, _) = target.accept().unwrap();
    say(&mut client, &mut server, true);
}

fn dies_with_the_supervisor() {
    let (service, address, target) = tcp(LONG);
    let supervisor = Supervisor::start(service, |_, _| {});
    let (mut client, _server) = talk(address, &target);
    let child = supervisor.child();
    drop(supervisor);
    assert!(client.read(&mut [0]).unwrap_or(0) == 0);
    until(|| !std::path::Path::new(&format!("/proc/{child}/exe")).exists());
}

fn has_only_what_it_needs() {
    let (service, address, target) = tcp(LONG);
    let (read, _write) = std::io::pipe().unwrap();
    let supervisor = Supervisor::start(service, |_, _| {});
    drop(read);
    let (_client, _server) = talk(address, &target);
    let child = supervisor.child();
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{child}/{file}")).unwrap();
    assert_eq!(of("comm").trim_end(), "minidock-net");
    assert_eq!(of("oom_score_adj").trim_end(), "0");
    let descriptors = std::fs::read_dir(format!("/proc/{child}/fd"))
        .unwrap()
        .count();
    // The streams, the port, what retires it, epoll, a connection's two ends, and a socket for the next.
    assert_eq!(descriptors, 3 + 1 + 1 + 1 + 2 + 1);
}

fn at_the_limit_others_wait() {
    let (service, address, target) = tcp(LONG);
    let mut supervisor = Supervisor::start(service, |_, _| {
        let limit = rustix::process::Rlimit {
            current: Some(48),
            maximum: Some(48),
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    });
    supervisor.order(b'l');
    let mut clients: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"ping").unwrap();
            client
        })
        .collect();
    let mut served = Vec::new();
    for _ in 0..15 {
        served.push(target.accept().unwrap().0);
    }
    // It rests, and does not spin.
    let ticks = |pid: i32| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let child = supervisor.child();
    let before = ticks(child);
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks(child) - before < 50);
    // Each that goes makes room for another; nobody is turned away.
    let mut count = 0;
    while count < clients.len() {
        let mut server = if served.is_empty() {
            target.accept().unwrap().0
        } else {
            served.remove(0)
        };
        server.read_exact(&mut [0; 4]).unwrap();
        server.write_all(b"pong").unwrap();
        drop(server);
        // The clients were let in one after the other.
        let mut answer = Vec::new();
        clients[count].read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"pong");
        clients[count].shutdown(std::net::Shutdown::Both).unwrap();
        count += 1;
    }
}

fn the_end_is_the_end() {
    let (service, address, target) = tcp(LONG);
    let mut supervisor = Supervisor::start(service, |service, _| service.end());
    let (mut client, _server) = talk(address, &target);
    supervisor.order(b'e');
    assert!(supervisor.children().is_empty());
    assert!(client.read(&mut [0]).unwrap_or(0) == 0);
    TcpListener::bind(address).unwrap();
}

fn serves_names() {
    let namespace = std::fs::File::open("/proc/self/ns/net").unwrap();
    let (udp, tcp) = dns::sockets_in(namespace.as_fd()).unwrap();
    let made = Dns {
        udp,
        tcp,
        container_ns: namespace.into(),
        networks: Vec::new(),
        links: Vec::new(),
        upstream: vec!["127.0.0.1".parse().unwrap()],
        loopback_upstream: Vec::new(),
        forward: true,
    };
    let (udp, _) = made.ports().unwrap();
    let server = UdpSocket::bind("127.0.0.1:53").unwrap();
    let mut service = Service::with_idle(Duration::from_millis(200));
    service.set_dns(Some(made));
    let supervisor = Supervisor::start(service, |_, _| {});
    for _ in 0..3 {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect((dns::ADDRESS, udp)).unwrap();
        client.send(&query("example.com", 1)).unwrap();
        let mut buffer = [0; 512];
        let (n, from) = server.recv_from(&mut buffer).unwrap();
        server
            .send_to(&network::names::answer(&buffer[..n], "192.0.2.1"), from)
            .unwrap();
        let expected = Answer::fine(vec!["192.0.2.1".parse().unwrap()]);
        assert_eq!(Answer::receive(&client, 0x1234), expected);
        until(|| supervisor.children().is_empty());
    }
}
