//! Connections and datagrams through host ports, each test in a network namespace of its own.
mod network;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use network::{Forward, in_namespace};

/// Everything that comes is sent back, and the end as well.
fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 || stream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}

fn serve_each(listener: TcpListener, serve: fn(TcpStream)) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
}

fn pattern(size: usize) -> Vec<u8> {
    let mut state = 1u64;
    let bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    bytes.take(size).collect()
}

#[test]
fn much_and_little_comes_through_unchanged() {
    in_namespace(|| {
        let (forward, listener) = Forward::tcp("127.0.0.1:0");
        serve_each(listener, echo);
        for size in [1, 100, 16_383, 16_384, 16_385, 100_000, 20_000_000] {
            let data = pattern(size);
            let mut stream = forward.connect();
            let mut reader = stream.try_clone().unwrap();
            let received = std::thread::spawn(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).unwrap();
                all
            });
            stream.write_all(&data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert!(received.join().unwrap() == data, "{size} bytes");
        }
    });
}

#[test]
fn each_direction_ends_by_itself() {
    in_namespace(|| {
        let (forward, listener) = Forward::tcp("127.0.0.1:0");
        let mut client = forward.connect();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        // The other way is as open as before.
        server.write_all(b"answer").unwrap();
        let mut buffer = [0; 6];
        client.read_exact(&mut buffer).unwrap();
        server.write_all(b", and more").unwrap();
        drop(server);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, ", and more");

        // The server ends first.
        let mut client = forward.connect();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"hello").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        client.write_all(b"and good bye").unwrap();
        drop(client);
        text.clear();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "and good bye");
    });
}

#[test]
fn a_cut_connection_is_cut_at_the_other_side() {
    in_namespace(|| {
        let (forward, listener) = Forward::tcp("127.0.0.1:0");
        let cut = |stream: &TcpStream| {
            rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
        };
        let is_cut = |mut stream: TcpStream| {
            let mut rest = Vec::new();
            let error = stream.read_to_end(&mut rest).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            rest
        };
        let client = forward.connect();
        let (mut server, _) = listener.accept().unwrap();
        cut(&client);
        drop(client);
        assert_eq!(is_cut(server.try_clone().unwrap()), b"");
        let _ = server.write_all(b"x");

        let client = forward.connect();
        (server, _) = listener.accept().unwrap();
        cut(&server);
        drop(server);
        is_cut(client);

        // What the server has said before it cuts the connection, because it has not read all, gets through.
        let mut client = forward.connect();
        (server, _) = listener.accept().unwrap();
        client.write_all(&pattern(100_000)).unwrap();
        server.write_all(b"too large").unwrap();
        let mut buffer = [0; 9];
        client.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"too large");
        drop(server);
        is_cut(client);
    });
}

#[test]
fn a_refused_target_cuts_the_connection() {
    in_namespace(|| {
        let (forward, listener) = Forward::tcp("127.0.0.1:0");
        drop(listener);
        for _ in 0..100 {
            let mut client = forward.connect();
            let error = client.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn who_reads_slowly_holds_the_other_side_back() {
    in_namespace(|| {
        let (forward, listener) = Forward::tcp("127.0.0.1:0");
        let data = pattern(1 << 26);
        let sent = data.clone();
        let (blocked, is_blocked) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            let (mut server, _) = listener.accept().unwrap();
            server.set_nonblocking(true).unwrap();
            // As much as all buffers on the way take: not all.
            let mut at = 0;
            let mut pauses = 0;
            while pauses < 50 && at < sent.len() {
                match server.write(&sent[at..]) {
                    Ok(n) => (at, pauses) = (at + n, 0),
                    Err(_) => {
                        pauses += 1;
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
            }
            assert!(at < sent.len());
            blocked.send(()).unwrap();
            server.set_nonblocking(false).unwrap();
            server.write_all(&sent[at..]).unwrap();
        });
        let mut client = forward.connect();
        is_blocked.recv().unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == data);
        writer.join().unwrap();
    });
}

#[test]
fn two_thousand_connections_at_once() {
    in_namespace(|| {
        network::raise_limit();
        let (forward, listener) = Forward::tcp("127.0.0.1:0");
        let server = std::thread::spawn(move || {
            let mut streams: Vec<TcpStream> = Vec::new();
            for _ in 0..2000 {
                streams.push(listener.accept().unwrap().0);
            }
            for stream in &mut streams {
                let mut buffer = [0; 4];
                stream.read_exact(&mut buffer).unwrap();
                stream.write_all(&buffer).unwrap();
            }
            streams
        });
        let mut clients: Vec<TcpStream> = (0..2000).map(|_| forward.connect()).collect();
        for (at, client) in clients.iter_mut().enumerate() {
            client.write_all(&(at as u32).to_ne_bytes()).unwrap();
        }
        let streams = server.join().unwrap();
        for (at, client) in clients.iter_mut().enumerate() {
            let mut buffer = [0; 4];
            client.read_exact(&mut buffer).unwrap();
            assert_eq!(u32::from_ne_bytes(buffer), at as u32);
        }
        drop(streams);
        for client in &mut clients {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn an_ipv6_client_reaches_an_ipv4_target() {
    in_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        serve_each(listener, echo);
        let forward = Forward::to(target, "[::1]:0");
        let mut client = forward.connect();
        client.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        client.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
    });
}

#[test]
fn datagrams_of_many_clients() {
    in_namespace(|| {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((n, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..n], from).unwrap();
            }
        });
        let forward = Forward::udp(target);
        let clients: Vec<UdpSocket> = (0..200)
            .map(|_| {
                let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                client
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                // An answer from any other address would not be received.
                client.connect(forward.address).unwrap();
                client
            })
            .collect();
        let mut buffer = vec![0; 65_536];
        for size in [0, 1, 1000, 65_507] {
            for client in &clients[..if size > 1000 { 5 } else { 200 }] {
                let data = pattern(size);
                assert_eq!(client.send(&data).unwrap(), size);
                let n = client.recv(&mut buffer).unwrap();
                assert!(buffer[..n] == data, "{size} bytes");
            }
        }
        // The answer comes from the address that was asked, of the many that the host has.
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client
            .connect(("127.9.8.7", forward.address.port()))
            .unwrap();
        client.send(b"who").unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 3);
    });
}

#[test]
fn a_new_client_takes_the_place_of_the_most_silent_one() {
    in_namespace(|| {
        network::raise_limit();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        let sources = std::thread::spawn(move || {
            let mut buffer = [0; 16];
            let mut sources = Vec::new();
            while let Ok((n, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..n], from).unwrap();
                if n == 0 {
                    break;
                }
                sources.push(from.port());
            }
            sources
        });
        let forward = Forward::udp(target);
        let open = || {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            client.connect(forward.address).unwrap();
            client
        };
        let talk = |client: &UdpSocket, data: &[u8]| {
            client.send(data).unwrap();
            assert_eq!(client.recv(&mut [0; 16]).unwrap(), data.len());
        };
        let (first, silent) = (open(), open());
        talk(&silent, b"x");
        // More than are remembered, even if some get a port that another has had.
        for number in 0..6000 {
            talk(&open(), b"x");
            if number % 1000 == 0 {
                talk(&first, b"x");
            }
        }
        talk(&first, b"x");
        talk(&silent, b"x");
        talk(&first, b"");
        let sources = sources.join().unwrap();
        // Who talks keeps his socket, who does not gets another.
        assert_eq!(sources[2], sources[sources.len() - 2]);
        assert_ne!(sources[0], sources[sources.len() - 1]);
    });
}

#[test]
fn datagrams_survive_a_refusal() {
    in_namespace(|| {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        drop(server);
        let forward = Forward::udp(target);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(forward.address).unwrap();
        for _ in 0..5 {
            client.send(b"anybody?").unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        let server = UdpSocket::bind(target).unwrap();
        server
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client.send(b"now").unwrap();
        let mut buffer = [0; 16];
        let (n, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"now");
        server.send_to(b"yes", from).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 3);
    });
}

#[test]
fn what_retires_finishes_its_connections_and_takes_no_more() {
    in_namespace(|| {
        let (forward, listener) = Forward::tcp("127.0.0.1:0");
        let mut client = forward.connect();
        let (mut server, _) = listener.accept().unwrap();
        forward.retire();
        // In the listener's queue, for whoever serves it next.
        let _waits = forward.connect();
        for _ in 0..3 {
            client.write_all(b"ping").unwrap();
            let mut buffer = [0; 4];
            server.read_exact(&mut buffer).unwrap();
            server.write_all(b"pong").unwrap();
            client.read_exact(&mut buffer).unwrap();
        }
        assert!(!forward.has_ended());
        // It does not hold the port.
        forward.close();
        TcpListener::bind(forward.address).unwrap();
        drop((client, server));
        forward.join();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err());
    });
}

#[test]
fn without_anything_to_do_it_ends() {
    in_namespace(|| {
        let (forward, listener) = Forward::tcp_idle("127.0.0.1:0", Duration::from_millis(200));
        let client = forward.connect();
        let (server, _) = listener.accept().unwrap();
        // An idle connection is something to do.
        std::thread::sleep(Duration::from_millis(500));
        assert!(!forward.has_ended());
        drop((client, server));
        forward.join();
    });
}
