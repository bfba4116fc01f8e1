//! Tests of `clients`.
use super::*;
use rustix::net::{AddressFamily, SocketType, socketpair};
use std::io::{Read, Write as _};
use std::os::fd::AsRawFd;

fn client() -> (Client, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    (Client::new(a, false), b)
}

fn pipe() -> (std::fs::File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (std::fs::File::from(read), write)
}

#[test]
fn several_read_the_same() {
    let mut clients = Clients::default();
    let (mut a, _sa) = client();
    let (mut b, _sb) = client();
    let ((mut ra, wa), (mut rb, wb)) = (pipe(), pipe());
    a.attach(&[StreamName::Stdout], &[wa.as_fd()], None);
    b.attach(&[StreamName::Framed], &[wb.as_fd()], None);
    drop((wa, wb));
    clients.add(a);
    clients.add(b);
    assert!(clients.push(0, b"out"));
    assert!(clients.push(1, b"err!"));
    assert_eq!(clients.finish("{}").len(), 0);
    drop(clients);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    ra.read_to_end(&mut x).unwrap();
    rb.read_to_end(&mut y).unwrap();
    assert_eq!(x, b"out");
    assert_eq!(y, b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x04err!");
}

#[test]
fn a_slow_reader_that_goes_is_a_broken_pipe() {
    let mut clients = Clients::default();
    let (mut a, _sa) = client();
    a.first = true;
    let (mut b, _sb) = client();
    let ((ra, wa), (rb, wb)) = (pipe(), pipe());
    a.attach(&[StreamName::Stdout], &[wa.as_fd()], None);
    b.attach(&[StreamName::Stdout], &[wb.as_fd()], None);
    drop((wa, wb));
    clients.add(a);
    clients.add(b);
    assert!(clients.push(0, &[7; 100_000]));
    drop(ra);
    clients.flush(0, 0);
    assert!(clients.push(0, b"to the other"));
    drop(rb);
    clients.flush(1, 0);
    assert!(!clients.is_blocked(0));
    assert!(!clients.push(0, b"to nobody"));
    assert!(clients.push(1, b"another stream"));
}

#[test]
fn a_slow_reader_blocks_and_loses_nothing() {
    let mut clients = Clients::default();
    let (mut a, _socket) = client();
    let (mut read, write) = pipe();
    a.attach(&[StreamName::Stdout], &[write.as_fd()], None);
    drop(write);
    clients.add(a);
    let data = vec![7; 100_000];
    assert!(clients.push(0, &data));
    assert!(clients.is_blocked(0) && !clients.is_blocked(1));
    let slow = clients.finish("{}");
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        read.read_to_end(&mut got).unwrap();
        got
    });
    serve_slow(slow, "{}");
    assert_eq!(reader.join().unwrap(), data);
}

#[test]
fn detach_keys_end_the_attachment_only() {
    let (mut a, other) = client();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let keys = Keys::parse("ctrl-p,ctrl-q").unwrap();
    a.attach(&[StreamName::Stdin], &[read.as_fd()], Some(keys));
    let mut clients = Clients::default();
    clients.add(a);
    std::fs::File::from(write).write_all(b"ls\x10\x11").unwrap();
    let mut buffer = [0; 64];
    assert!(matches!(clients.read(0, &mut buffer), Typed::Detached(b) if b == b"ls"));
    assert!(clients.iter().next().unwrap().source.is_none());
    let (n, _) = rustix::net::recv(&other, &mut buffer[..], RecvFlags::empty()).unwrap();
    assert_eq!(&buffer[..n], control::DETACHED.as_bytes());
    assert!(other.as_raw_fd() > 0);
}
