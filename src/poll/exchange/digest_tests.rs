//! The examples of the RFCs, and what a server may say.

use http::Method;

use super::*;
use crate::config::Secret;
use crate::upstream::Document;

const MINUTE: Duration = Duration::from_secs(60);

const MUFASA: &str = "Mufasa";

fn guest(username: &str, password: &str) -> Guest {
    let password = Secret(password.into());
    let credentials = DigestCredentials { username: username.into(), password, file: None };
    Guest::new("camera", Arc::new(credentials), None)
}

fn ask(target: &str) -> Ask {
    Ask {
        method: Method::GET,
        path_and_query: target.into(),
        host: "camera.test".into(),
        headers: Vec::new(),
        body: bytes::Bytes::new(),
        class: None,
        timeout: Duration::from_secs(1),
        max_body: 1000,
        document: Document::Any,
        claim: None,
    }
}

fn asking(lines: &[&str]) -> HeaderMap {
    lines.iter().map(|line| (header::WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap())).collect()
}

fn said(proof: &Proof) -> HashMap<String, String> {
    let text = proof.value.to_str().unwrap().strip_prefix("Digest ").unwrap();
    parameters(text).collect()
}

#[test]
fn the_examples_of_the_rfcs_are_answered_as_they_say() {
    const RFC_7616: &str = "realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
         nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
    let old = "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
         opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let md5 = format!("Digest {RFC_7616}, algorithm=MD5");
    let sha = format!("Digest {RFC_7616}, algorithm=SHA-256");
    let both_in_one = format!("Basic realm=\"a, Digest b\", {md5}, {sha}");
    let long = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let (md5_answer, sha_answer) = (
        "8ca523f5e9506fed4657c9700eebdbec",
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    );
    let cases: [(&[&str], &str, &str, &str); 7] = [
        (&[old], "CircleOfLife", "", "1949323746fe6a43ef61f9606e7febea"),
        (
            &[&format!("{old}, qop=\"auth,auth-int\"")],
            "Circle Of Life",
            "0a4f113b",
            "6629fae49393a05397450978507c4ef1",
        ),
        (&[&md5], "Circle of Life", long, md5_answer),
        (&[&sha], "Circle of Life", long, sha_answer),
        (
            &["Basic realm=\"x\"", &md5, &sha, "Digest realm=\"x\", nonce=\"1\", algorithm=MD4"],
            "Circle of Life",
            long,
            sha_answer,
        ),
        (&[&both_in_one], "Circle of Life", long, sha_answer),
        (
            &[&md5.replace("Digest", "dIGEST").replace("realm=", "Realm = ")],
            "Circle of Life",
            long,
            md5_answer,
        ),
    ];
    for (lines, password, client_nonce, wanted) in cases {
        let guest = guest(MUFASA, password);
        assert_eq!(guest.denied(None, false, &asking(lines), MINUTE), Asked::Again, "{lines:?}");
        let proof = guest.proof_with(&ask("/dir/index.html"), Some(client_nonce)).expect("a proof");
        let said = said(&proof);
        assert_eq!(said["response"], wanted, "{lines:?}");
        assert_eq!((said["username"].as_str(), said["uri"].as_str()), (MUFASA, "/dir/index.html"));
        assert_eq!(said.contains_key("algorithm"), lines.iter().any(|line| line.contains("algorithm")));
        assert!(proof.value.is_sensitive());
    }
}

const CHALLENGE: &str = "Digest realm=\"r\", nonce=\"one\", qop=\"auth\", algorithm=MD5";

#[test]
fn a_nonce_serves_many_requests_until_the_server_names_the_next() {
    let guest = guest("ann", "secret");
    assert!(guest.proof(&ask("/")).is_none());
    guest.denied(None, false, &asking(&[CHALLENGE]), MINUTE);
    for count in ["00000001", "00000002"] {
        let proof = guest.proof(&ask("/")).unwrap();
        assert_eq!((said(&proof)["nc"].as_str(), said(&proof)["nonce"].as_str()), (count, "one"));
        guest.accepted(Some(&proof), &HeaderMap::new());
    }
    let proof = guest.proof(&ask("/")).unwrap();
    let info =
        [("authentication-info".parse().unwrap(), HeaderValue::from_static("qop=auth, nextnonce=\"two\""))];
    guest.accepted(Some(&proof), &info.into_iter().collect());
    let next = guest.proof(&ask("/")).unwrap();
    assert_eq!((said(&next)["nc"].as_str(), said(&next)["nonce"].as_str()), ("00000001", "two"));
    // Stale.
    let stale = CHALLENGE.replace("one", "three") + ", stale=true";
    assert_eq!(guest.denied(Some(&next), false, &asking(&[&stale]), MINUTE), Asked::Again);
    assert_eq!(said(&guest.proof(&ask("/")).unwrap())["nonce"], "three");
    // Another poll that was told of the same later keeps what is known.
    let late = CHALLENGE.replace("one", "four");
    assert_eq!(guest.denied(Some(&next), false, &asking(&[&late]), MINUTE), Asked::Again);
    assert_eq!(said(&guest.proof(&ask("/")).unwrap())["nonce"], "three");
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_tried_again_ever_more_seldom() {
    let guest = guest("ann", "wrong");
    let mut waited = Vec::new();
    for _ in 0..8 {
        assert!(guest.admit().await.unwrap().is_some(), "one tries");
        guest.denied(None, false, &asking(&[CHALLENGE]), MINUTE);
        let proof = guest.proof(&ask("/")).unwrap();
        let refused = guest.denied(Some(&proof), true, &asking(&[CHALLENGE]), MINUTE);
        assert!(matches!(refused, Asked::Refused(_)), "{refused:?}");
        let refused = Instant::now();
        while guest.admit().await.is_err() {
            assert!(guest.turn().await.is_err());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        waited.push(refused.elapsed().as_secs());
    }
    assert_eq!(waited, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
}

#[test]
fn a_nonce_that_grew_old_at_once_says_nothing_about_the_password() {
    let guest = guest("ann", "secret");
    guest.denied(None, false, &asking(&[CHALLENGE]), MINUTE);
    let proof = guest.proof(&ask("/")).unwrap();
    let stale = CHALLENGE.replace("one", "two") + ", stale=TRUE";
    assert_eq!(guest.denied(Some(&proof), true, &asking(&[&stale]), MINUTE), Asked::Again);
    assert_eq!(said(&guest.proof(&ask("/")).unwrap())["nonce"], "two");
}

#[test]
fn the_clients_nonce_lives_as_long_as_the_servers() {
    let guest = guest("ann", "secret");
    let session = CHALLENGE.replace("MD5", "MD5-sess");
    guest.denied(None, false, &asking(&[&session]), MINUTE);
    let nonces = [guest.proof(&ask("/a")), guest.proof(&ask("/b"))]
        .map(|proof| said(&proof.unwrap())["cnonce"].clone());
    assert_eq!(nonces[0], nonces[1]);
    guest.denied(
        Some(&guest.proof(&ask("/")).unwrap()),
        false,
        &asking(&[&session.replace("one", "two")]),
        MINUTE,
    );
    assert_ne!(said(&guest.proof(&ask("/")).unwrap())["cnonce"], nonces[0]);
}

#[test]
fn what_cannot_be_answered_is_left() {
    for line in [
        "",
        "Digest",
        "Basic realm=\"x\"",
        "Digest realm=\"x\"",
        "Digest nonce=\"x\"",
        "Digest realm=\"x\", nonce=\"1\", algorithm=MD5-sess",
        "Digest realm=\"x\", nonce=\"1\", algorithm=SHA-1",
        "Digest realm=\"x\", nonce=\"1\", qop=\"other\"",
        "NTLM",
        "realm=\"x\", nonce=\"1\"",
    ] {
        assert_eq!(guest("ann", "x").denied(None, false, &asking(&[line]), MINUTE), Asked::No, "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_panics(line in "[ -~]{0,200}", more in "(Digest|realm=\"a|nonce=\"b\"|qop=auth|,|=|\"| |\\\\){0,20}") {
        let guest = guest("ann", "x");
        for line in [line, more] {
            if let Ok(value) = HeaderValue::try_from(line) {
                let headers = [(header::WWW_AUTHENTICATE, value)].into_iter().collect();
                guest.denied(None, false, &headers, MINUTE);
                let _ = guest.proof(&ask("/"));
            }
        }
    }
}
