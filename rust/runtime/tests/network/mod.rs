//! What the tests of the network share.
#![allow(dead_code)] // Each of them uses a part.

pub mod names;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use minidock_core::namespace::loopback_up;
use minidock_core::net::live::Protocol;
use minidock_runtime::network::ports::{self, Wanted};
use minidock_runtime::network::{Port, Serving, serve};
use nix::sched::{CloneFlags, unshare};

/// Runs something in a network namespace with nothing but loopback in it; threads that it starts are in there, too.
pub fn in_namespace<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        loopback_up().unwrap();
        what()
    });
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

pub fn wanted(protocol: Protocol, host: SocketAddr) -> Wanted {
    Wanted {
        protocol,
        container_port: 1,
        host_ip: Some(host.ip()),
        host_port: host.port(),
        host_port_end: 0,
    }
}

/// A host port that is served by a thread.
pub struct Forward {
    pub address: SocketAddr,
    socket: Mutex<Option<OwnedFd>>,
    retire: Mutex<Option<OwnedFd>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Forward {
    /// With a target that is to be served by the test.
    pub fn tcp(host: &str) -> (Self, TcpListener) {
        Self::tcp_idle(host, Duration::from_secs(3600))
    }

    pub fn tcp_idle(host: &str, idle: Duration) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let forward = Self::start(Protocol::Tcp, target, host.parse().unwrap(), idle);
        (forward, listener)
    }

    pub fn to(target: SocketAddr, host: &str) -> Self {
        let idle = Duration::from_secs(3600);
        Self::start(Protocol::Tcp, target, host.parse().unwrap(), idle)
    }

    pub fn udp(target: SocketAddr) -> Self {
        let idle = Duration::from_secs(3600);
        let host = "0.0.0.0:0".parse().unwrap();
        let mut made = Self::start(Protocol::Udp, target, host, idle);
        made.address.set_ip("127.0.0.1".parse().unwrap());
        made
    }

    fn start(protocol: Protocol, target: SocketAddr, host: SocketAddr, idle: Duration) -> Self {
        let mut bound = ports::bind(&[wanted(protocol, host)]).unwrap();
        let bound = bound.remove(0);
        let address = SocketAddr::new(bound.host_ip, bound.host_port);
        let socket = bound.socket.unwrap();
        let served = socket.try_clone().unwrap();
        let (retired, retire) = rustix::pipe::pipe().unwrap();
        let thread = std::thread::spawn(move || {
            let port = Port {
                protocol,
                socket: served,
                target,
            };
            let serving = Serving {
                ports: vec![port],
                dns: None,
                idle,
                retire: Some(retired),
            };
            serve(serving).unwrap();
        });
        Self {
            address,
            socket: Mutex::new(Some(socket)),
            retire: Mutex::new(Some(retire)),
            thread: Mutex::new(Some(thread)),
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    pub fn retire(&self) {
        let end = self.retire.lock().unwrap().take();
        drop(end);
        std::thread::sleep(Duration::from_millis(100));
    }

    /// Closes the host's port, as far as it is the test's.
    pub fn close(&self) {
        self.socket.lock().unwrap().take();
    }

    pub fn has_ended(&self) -> bool {
        let thread = self.thread.lock().unwrap();
        thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end of the service.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap().take();
        thread.unwrap().join().unwrap();
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.retire.lock().unwrap().take();
    }
}
