use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tcp(text: &str) -> Peer {
    Peer::Tcp((ip(text), 80).into())
}

fn proxies(trusted: &[&str]) -> Proxies {
    Proxies::new(&Config::default().trusted_proxies(trusted.iter().copied()))
}

fn client(proxies: &Proxies, peer: Peer, lines: &[&str]) -> Option<IpAddr> {
    proxies.client(Some(peer), None, lines.iter().map(|line| line.as_bytes()))
}

#[test]
fn only_trusted_proxies_are_believed() {
    let nobody = proxies(&[]);
    assert_eq!(
        client(&nobody, tcp("10.0.0.1"), &["192.0.2.7"]),
        Some(ip("10.0.0.1"))
    );
    assert_eq!(client(&nobody, Peer::Unix, &["192.0.2.7"]), None);
    let some = proxies(&["10.0.0.0/8", "fd00::/8", "198.51.100.9"]);
    for (peer, lines, expected) in [
        ("192.0.2.1", &["192.0.2.7"][..], "192.0.2.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
        ("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7"),
        ("fd00::1", &["192.0.2.7"], "192.0.2.7"),
        // What the client wrote itself comes first, and does not count.
        (
            "10.0.0.1",
            &["10.9.9.9, 203.0.113.5, 192.0.2.7, 10.0.0.2"],
            "192.0.2.7",
        ),
        (
            "10.0.0.1",
            &["203.0.113.5", "192.0.2.7", "198.51.100.9,10.0.0.2"],
            "192.0.2.7",
        ),
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", &["192.0.2.7, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["192.0.2.7,"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.7:4711"], "192.0.2.7"),
        ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
        ("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7"),
    ] {
        let found = client(&some, tcp(peer), lines);
        assert_eq!(found, Some(ip(expected)), "{peer} with {lines:?}");
    }
    assert_eq!(client(&some, Peer::Unix, &["192.0.2.7"]), None);
    let unix = proxies(&["unix"]);
    assert_eq!(
        client(&unix, Peer::Unix, &["192.0.2.7"]),
        Some(ip("192.0.2.7"))
    );
    assert_eq!(client(&unix, Peer::Unix, &[]), None);
    let unknown = unix.client(None, None, [&b"192.0.2.7"[..]].into_iter());
    assert_eq!(unknown, None, "who is not known is on no list");
}

#[test]
fn what_is_announced_goes_before_the_peer() {
    let some = proxies(&["10.0.0.0/8"]);
    let lines = || [&b"192.0.2.7"[..]].into_iter();
    let announced = |address| some.client(Some(tcp("10.0.0.1")), Some(ip(address)), lines());
    assert_eq!(announced("203.0.113.5"), Some(ip("203.0.113.5")));
    assert_eq!(
        announced("10.0.0.2"),
        Some(ip("192.0.2.7")),
        "one proxy behind another"
    );
}

#[test]
fn announcements_are_believed_of_those_listed_or_of_all() {
    assert!(proxies(&[]).may_announce(tcp("192.0.2.1")));
    assert!(proxies(&[]).may_announce(Peer::Unix));
    let some = proxies(&["10.0.0.0/8"]);
    assert!(some.may_announce(tcp("10.0.0.1")));
    assert!(!some.may_announce(tcp("192.0.2.1")));
    assert!(!some.may_announce(Peer::Unix));
    assert!(proxies(&["unix"]).may_announce(Peer::Unix));
}

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = ppp::v2::PROTOCOL_PREFIX.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

#[test]
fn headers_are_read_at_every_cut() {
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
    let with_more = [&v4[..], &[4, 0, 1, 42]].concat();
    let v6 = [
        &ip_bytes("2001:db8::7")[..],
        &ip_bytes("::1"),
        &[0x12, 0x67, 0, 80],
    ]
    .concat();
    let mapped = [&ip_bytes("::ffff:192.0.2.7")[..], &ip_bytes("::1"), &[0; 4]].concat();
    let seven = Some(ip("192.0.2.7"));
    for (header, address) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec(), seven),
        (
            b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(),
            Some(ip("2001:db8::7")),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (
            b"PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n".to_vec(),
            None,
        ),
        (binary(0x21, 0x11, &v4), seven),
        (binary(0x21, 0x11, &with_more), seven),
        (binary(0x21, 0x21, &v6), Some(ip("2001:db8::7"))),
        (binary(0x21, 0x21, &mapped), seven),
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, &v4), None),
        (binary(0x21, 0x31, &[7; 216]), None),
        (binary(0x21, 0x00, &[]), None),
    ] {
        let length = header.len();
        for cut in 0..length {
            let early = read_announcement(&header[..cut]);
            assert_eq!(early, Announced::Incomplete, "{header:?} cut at {cut}");
        }
        let whole = Announced::Client { address, length };
        assert_eq!(read_announcement(&header), whole);
        assert_eq!(
            read_announcement(&[&header[..], b"GET / HTTP"].concat()),
            whole
        );
    }
}

fn ip_bytes(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

#[test]
fn what_is_no_header_is_malformed() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    for bytes in [
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"\x16\x03\x01".to_vec(),
        b"PROXY TCP4 192.0.2.7\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\n".to_vec(),
        b"PROXY TCP4 192.0.2.777 10.0.0.1 4711 80\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 80\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 1 1\r\n".to_vec(),
        b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec(),
        b"PROXY \xff\xff\r\n".to_vec(),
        long.into_bytes(),
        b"PROXY ".iter().chain(&[b'x'; 200]).copied().collect(),
        binary(0x11, 0x11, &[0; 12]),
        binary(0x22, 0x11, &[0; 12]),
        binary(0x21, 0x11, &[0; 11]),
        binary(0x21, 0x51, &[0; 12]),
        binary(0x21, 0x11, &vec![0; crate::limits::MAX_PROXY_HEADER]),
    ] {
        let read = read_announcement(&bytes);
        assert_eq!(
            read,
            Announced::Malformed,
            "{:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

#[test]
fn connections_count_by_address_or_household_until_they_end() {
    let table = PerAddress::new(2);
    let one = table.count(ip("192.0.2.7")).unwrap();
    let two = table.count(ip("::ffff:192.0.2.7")).unwrap();
    assert!(table.count(ip("192.0.2.7")).is_none());
    let other = table.count(ip("192.0.2.8")).unwrap();
    let household = [
        table.count(ip("2001:db8::1")).unwrap(),
        table.count(ip("2001:db8::ffff:1:2:3")).unwrap(),
    ];
    assert!(table.count(ip("2001:db8::2")).is_none());
    assert!(table.count(ip("2001:db8:0:1::2")).is_some());
    drop(one);
    let again = table.count(ip("192.0.2.7")).unwrap();
    assert!(table.count(ip("192.0.2.7")).is_none());
    assert_eq!(table.len(), 3);
    drop((two, other, household, again));
    assert_eq!(table.len(), 0, "nothing is left of who has gone");
}

#[test]
fn nobody_shares_a_count_with_another_family() {
    // The first 64 bits of that are as a number what the address of IPv4 is.
    assert_ne!(household(ip("1.2.3.4")), household(ip("0:0:102:304::1")));
    assert_ne!(household(ip("0.0.0.0")), household(ip("::")));
    assert_eq!(household(ip("1.2.3.4")), household(ip("::ffff:1.2.3.4")));
    assert_eq!(household(ip("2001:db8::1")), household(ip("2001:db8::2")));
}
