//! Tables of requests as they come, whole and in pieces.

use super::*;

fn read(pieces: &[&str]) -> Result<String, Unfit> {
    let mut requests = RawHead::new();
    let mut all = Vec::new();
    for piece in pieces {
        let Read { instead, unfit } = requests.read(piece.as_bytes());
        if let Some(unfit) = unfit {
            return Err(unfit);
        }
        all.extend_from_slice(instead.as_deref().unwrap_or(piece.as_bytes()));
    }
    Ok(String::from_utf8(all).unwrap())
}

fn in_pieces(text: &str, length: usize) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    text.chunks(length).map(|piece| piece.iter().collect()).collect()
}

fn read_in_pieces(text: &str, length: usize) -> Result<String, Unfit> {
    let pieces = in_pieces(text, length);
    read(&pieces.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn quotes_of_a_target_are_escaped_and_nothing_else() {
    let rest = " HTTP/1.1\r\nX: \"a <b> c\"\x01\r\n\r\n";
    for (target, wanted) in [
        ("/x", "/x"),
        ("/x?q=\"a\"&b=<c>", "/x?q=%22a%22&b=%3Cc%3E"),
        ("/\"%22<a>?\"?<", "/\"%22%3Ca%3E?%22?%3C"),
        ("/x?{a}|^`\\é", "/x?{a}|^`\\é"),
        ("/{a}|^`\\é`?`", "/{a}|^%60\\é%60?`"),
    ] {
        let (said, wanted) = (format!("\r\nGET {target}{rest}"), format!("\r\nGET {wanted}{rest}"));
        for times in [1, 3] {
            let (said, wanted) = (said.repeat(times), wanted.repeat(times));
            assert_eq!(read(&[&said]).as_deref(), Ok(wanted.as_str()), "{target}");
            assert_eq!(read_in_pieces(&said, 1).as_deref(), Ok(wanted.as_str()), "{target}, byte by byte");
        }
    }
}

const BAD_LINES: [&str; 11] = [
    "GET /x y HTTP/1.1\r\n",
    "GET /x  HTTP/1.1\r\n",
    "GET  /x HTTP/1.1\r\n",
    "GET /x HTTP/1.1 \r\n",
    "GET /x\tHTTP/1.1\r\n",
    "GET /x\x01 HTTP/1.1\r\n",
    "GET /x?\x7f HTTP/1.1\r\n",
    "GET /x\0 HTTP/1.1\r\n",
    "GET /x\ry HTTP/1.1\r\n",
    " GET /x HTTP/1.1\r\n",
    "\x16\x03\x01",
];

#[test]
fn a_space_or_control_character_in_a_request_line_is_bad() {
    for line in BAD_LINES {
        assert_eq!(read(&[line]), Err(Unfit::Line), "{line:?}");
    }
}

#[test]
fn a_bad_line_behind_other_requests_is_bad_and_they_are_not() {
    let chunks = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(read(&[&format!("{chunks}{}", BAD_LINES[0])]).is_ok(), "nothing is read behind chunks");
    for before in [
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /a?q=\"b\" HTTP/1.1\r\nCONTENT-length:  3 \r\nHost: a\r\n\r\na\n b",
        "\r\nDELETE /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ] {
        // The last byte but one of a body stands for none of its ends.
        let before = before.replace("a\n b", "a\nb");
        for line in BAD_LINES {
            let mut requests = RawHead::new();
            let Read { instead, unfit } = requests.read(format!("{before}{before}{line}").as_bytes());
            assert_eq!(unfit, Some(Unfit::Line), "{before:?} {line:?}");
            let good = before.repeat(2).replace("q=\"b\"", "q=%22b%22");
            assert_eq!(instead.as_deref(), Some(good.as_bytes()), "{before:?} {line:?}");
            assert!(requests.has_unanswered());
            assert_eq!(requests.read(b"more").instead.as_deref(), Some(&b""[..]), "nothing more is read");
            for length in [1, 2, 5] {
                let text = format!("{before}{before}{line}");
                assert_eq!(read_in_pieces(&text, length), Err(Unfit::Line), "{text:?} in {length}s");
            }
        }
    }
}

#[test]
fn fields_are_counted_to_the_end_of_each_head() {
    let head = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(fields));
    assert!(read(&[&head(256), &head(256)]).is_ok());
    assert!(read(&[&format!("{}{}", head(200), head(200))]).is_ok(), "each head has its own");
    assert_eq!(read(&[&head(257)]), Err(Unfit::TooManyFields));
    assert_eq!(read(&[&head(1), &head(257)]), Err(Unfit::TooManyFields));
    assert_eq!(read_in_pieces(&head(257), 7), Err(Unfit::TooManyFields));
    let body = format!("POST / HTTP/1.1\r\nContent-Length: 300\r\n\r\n{}", "\n".repeat(300));
    assert!(read(&[&body, &head(256)]).is_ok(), "a body has no fields");
}

#[test]
fn chunks_are_read_as_they_come() {
    let head = "POST /a HTTP/1.1\r\nHost: a\r\ntransfer-ENCODING: Chunked\r\n\r\n";
    let good = format!("{head}1\r\nx\r\n0\r\n\r\n");
    assert_eq!(read(&[&good]).as_deref(), Ok(good.as_str()));
    assert_eq!(read_in_pieces(&good, 1).as_deref(), Ok(good.as_str()));
    for (body, kept) in [("\r\n", ""), (";a\r\n", ""), ("1\r\nx\r\n-1\r\n", "1\r\nx\r\n"), ("0x1\r\n", "0")] {
        let Read { instead, unfit } = RawHead::new().read(format!("{head}{body}").as_bytes());
        assert_eq!(unfit, Some(Unfit::Chunk), "{body:?}");
        assert_eq!(instead.as_deref(), Some(format!("{head}{kept}").as_bytes()), "{body:?}");
        assert_eq!(read_in_pieces(&format!("{head}{body}"), 1), Err(Unfit::Chunk), "{body:?}");
    }
}

#[test]
fn what_is_not_clear_is_let_through_until_it_is_answered() {
    let upgrade = "GET /a HTTP/1.1\r\nUpgrade: h2c\r\nHost: a\r\n\r\n";
    let mut requests = RawHead::new();
    assert_eq!(requests.read(upgrade.as_bytes()), Read { instead: None, unfit: None });
    requests.expect_next(upgrade.len());
    assert_eq!(requests.read(b"GET /a b c\r\n").unfit, Some(Unfit::Line), "it was HTTP to its end");
    let mut requests = RawHead::new();
    requests.read(upgrade.as_bytes());
    assert_eq!(requests.read(b"a b c d\x01"), Read { instead: None, unfit: None });
    requests.expect_next(upgrade.len());
    assert_eq!(requests.read(b"a b c d\x01"), Read { instead: None, unfit: None });
    for twice in [
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx y\x01",
        "POST / HTTP/1.1\r\nContent-Length: +1\r\nTransfer-Encoding: chunked\r\n\r\nx y\x01",
    ] {
        assert!(read(&[twice]).is_ok(), "its head is refused as a whole");
    }
}
