//! What a client asks for, and how it takes the answer.
//!
//! Input: six lines (how the answer is cut, see `Pieces`; the host; the target; the origin; the
//! subprotocols; the extensions), header lines up to an empty one, then the server's answer to the
//! key of RFC 6455 §1.3. An empty line stands for nothing.
//!
//! What can be sent at all is a request that a server takes as it was meant. An answer is judged
//! the same however it arrives, and one that is accepted keeps to what was offered.

#![no_main]

use libfuzzer_sys::fuzz_target;
use throng::protocol::deflate::{DEFLATE_WINDOW_BITS, Params, check_response};
use throng::protocol::handshake::{
    Acceptance, ClientRequest, Head, MAX_HEAD, MAX_HEADERS, ResponseError, head_end, parse_head,
};
use throng_fuzz::{Pieces, split_line};

const KEY: [u8; 16] = *b"the sample nonce";

fuzz_target!(|input: &[u8]| {
    let (pieces, rest) = split_line(input);
    let mut lines = Lines(rest);
    let Some(offer) = Offer::read(&mut lines) else {
        return;
    };
    let request = offer.request();
    ask(&request);
    judge(&request, lines.0, pieces);
});

/// What is left of the input.
struct Lines<'i>(&'i [u8]);

impl<'i> Lines<'i> {
    fn next(&mut self) -> Option<&'i str> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        str::from_utf8(line).ok()
    }
}

/// The parts of a [`ClientRequest`].
struct Offer<'i> {
    host: &'i str,
    target: &'i str,
    origin: Option<&'i str>,
    protocols: Vec<&'i str>,
    extensions: Option<&'i str>,
    headers: Vec<(&'i str, &'i str)>,
}

impl<'i> Offer<'i> {
    fn read(lines: &mut Lines<'i>) -> Option<Offer<'i>> {
        let (host, target) = (lines.next()?, lines.next()?);
        let origin = Some(lines.next()?).filter(|line| !line.is_empty());
        let protocols = lines.next()?.split(", ").filter(|name| !name.is_empty());
        let protocols = protocols.collect();
        let extensions = Some(lines.next()?).filter(|line| !line.is_empty());
        let mut headers = Vec::new();
        while let Some(line) = lines.next().filter(|line| !line.is_empty()) {
            headers.push(line.split_once(": ").unwrap_or((line, "")));
        }
        Some(Offer {
            host,
            target,
            origin,
            protocols,
            extensions,
            headers,
        })
    }

    fn request(&self) -> ClientRequest<'_> {
        ClientRequest {
            host: self.host,
            target: self.target,
            origin: self.origin,
            protocols: &self.protocols,
            extensions: self.extensions,
            headers: &self.headers,
        }
    }
}

fn ask(request: &ClientRequest<'_>) {
    let mut out = Vec::new();
    if let Err(error) = request.write(KEY, &mut out) {
        assert!(out.is_empty(), "{error}");
        return;
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let asked = match parse_head(&out, &mut headers) {
        Ok(Head::Upgrade(asked)) => asked,
        // A server has its bounds.
        Err(refusal) if refusal.status == 431 => return,
        other => panic!("{other:?} to {}", out.escape_ascii()),
    };
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.target, None),
    };
    assert_eq!((asked.path(), asked.query()), (path, query));
    assert_eq!(
        (asked.host(), asked.origin()),
        (request.host, request.origin)
    );
    assert!(asked.protocols().eq(request.protocols.iter().copied()));
    let own = asked
        .headers()
        .skip(asked.headers().count() - request.headers.len());
    for ((name, value), (sent, meant)) in own.zip(request.headers) {
        assert_eq!(name, *sent);
        assert_eq!(value.trim_ascii(), meant.as_bytes().trim_ascii());
    }
}

fn judge(request: &ClientRequest<'_>, answer: &[u8], pieces: Pieces<'_>) {
    let mut is_over = false;
    for end in pieces.ends(answer.len()) {
        match request.check(KEY, &answer[..end]) {
            Ok(None) => {
                assert!(!is_over && end < MAX_HEAD, "the verdict is taken back");
            }
            Ok(Some(acceptance)) => {
                assert!(!is_over, "the verdict is taken back");
                keeps_to(request, &acceptance, &answer[..end]);
                let whole = request.check(KEY, answer);
                assert!(whole.is_ok_and(|whole| {
                    whole.is_some_and(|whole| whole.head_len() == acceptance.head_len())
                }));
                return;
            }
            Err(ResponseError::Declined(declined)) => {
                assert!(declined.status >= 200);
                let body = &declined.body;
                assert!(answer[..end].ends_with(body));
                for (name, value) in &declined.headers {
                    let found = declined.header(&name.to_ascii_uppercase());
                    assert!(found.is_some() || str::from_utf8(value).is_err());
                }
                is_over = true;
            }
            Err(_) => is_over = true,
        }
    }
}

fn keeps_to(request: &ClientRequest<'_>, acceptance: &Acceptance<'_>, answer: &[u8]) {
    assert!(acceptance.head_len() <= answer.len().min(MAX_HEAD));
    assert!(head_end(answer, 0).is_some_and(|first| first <= acceptance.head_len()));
    assert!(
        acceptance
            .protocol()
            .is_none_or(|chosen| request.protocols.contains(&chosen))
    );
    assert!(request.extensions.is_some() || acceptance.extensions().all(<[u8]>::is_empty));
    assert!(acceptance.headers().count() <= MAX_HEADERS);
    for wishes in [Params::default(), modest()] {
        if let Ok(Some(agreed)) = check_response(acceptance.extensions(), &wishes) {
            assert!(agreed.server_max_window_bits <= wishes.server_max_window_bits);
            assert!(agreed.client_max_window_bits <= wishes.client_max_window_bits);
            assert!(DEFLATE_WINDOW_BITS.contains(&agreed.client_max_window_bits));
            assert!(agreed.server_no_context_takeover >= wishes.server_no_context_takeover);
            assert!(agreed.client_no_context_takeover >= wishes.client_no_context_takeover);
        }
    }
}

fn modest() -> Params {
    Params {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: 10,
        client_max_window_bits: 9,
    }
}
