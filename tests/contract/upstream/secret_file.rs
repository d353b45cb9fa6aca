//! Contract §10, `poll.auth` and `poll.headers`: secrets in files that other programs replace.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::contract::Stand;
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

/// A file of this test's own, gone when dropped.
struct Secret(PathBuf);

impl Secret {
    fn holding(text: &str) -> Secret {
        let secret = Secret(std::env::temp_dir().join(format!("pollcast-secret-{:016x}", fastrand::u64(..))));
        secret.replace(text);
        secret
    }

    /// As programs do that never leave a half-written file.
    fn replace(&self, text: &str) {
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, text).expect("a file");
        std::fs::rename(&beside, &self.0).expect("the file");
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// pollcast whose polls have these keys, in front of an API that counts its answers to this one proof.
fn stand(poll: &str) -> Stand {
    Stand::start(&format!("share: public, hosts: ['127.0.0.1'], poll: {{interval: 100ms, {poll}}}"))
}

#[tokio::test]
async fn a_replaced_file_is_sent_by_the_next_polls() {
    for (key, header, before) in [
        ("auth: {header_file: 'PATH'}", "authorization", ""),
        ("auth: {bearer: '${file:PATH}'}", "authorization", "Bearer "),
        ("headers: {x-api-key: '${file:PATH}'}", "x-api-key", ""),
    ] {
        let secret = Secret::holding("one\n");
        let stand = stand(&key.replace("PATH", &secret.path().display().to_string()));
        stand.legacy.set("/prices/A", Reply::json("{}"));
        let _sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        for text in ["one", "two"] {
            secret.replace(&format!("{text}\n"));
            let wanted = format!("{before}{text}");
            stand.legacy.wait_seen(&wanted, |seen| seen.headers(header) == [wanted.as_str()]).await;
        }
        assert!(stand.legacy.all_seen().iter().all(|seen| seen.headers(header).len() == 1), "{key}");
    }
}

/// As HTTP's basic authentication says it.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn a_replaced_password_is_sent_by_the_next_polls_as_it_stands_in_the_file() {
    for key in ["password_file: 'PATH'", "password: '${file:PATH}'"] {
        let secret = Secret::holding("one\n");
        let key = key.replace("PATH", &secret.path().display().to_string());
        let stand = stand(&format!("auth: {{basic: {{user: ann, {key}}}}}"));
        stand.legacy.set("/prices/A", Reply::json("{}"));
        let _sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        for password in ["one", " t:wo \u{fc} "] {
            secret.replace(&format!("{password}\r\n"));
            let wanted = basic("ann", password);
            stand.legacy.wait_seen(&wanted, |seen| seen.headers("authorization") == [wanted.as_str()]).await;
        }
    }
}

#[tokio::test]
async fn a_replaced_client_secret_is_tried_at_once_though_the_old_one_was_refused() {
    let (secret, tokens) = (Secret::holding("one\n"), crate::support::legacy::Legacy::start());
    tokens.answer_with("/token", |seen| match seen.header("authorization") {
        Some(said) if said == basic("me", "two") => {
            Reply::json("{\"access_token\":\"good\",\"expires_in\":3600}")
        }
        _ => Reply::json("{\"error\":\"invalid_client\"}").status(401),
    });
    let stand = stand(&format!(
        "auth: {{oauth2: {{token_url: 'http://{}/token', client_id: me, client_secret: '${{file:{}}}'}}}}",
        tokens.address(),
        secret.path().display()
    ));
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(502);
    secret.replace("two\n");
    let mut number = 0;
    let reached = async {
        // Each resource is a poll of its own; the file is looked at once a second.
        while stand.http().await.get(&format!("/prices/{number}"), &[]).await.status == 502 {
            number += 1;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    crate::support::wire::within("a token for the new secret", reached).await;
    let polls = stand.legacy.all_seen();
    let mut polls = polls.iter().filter(|seen| seen.header("x-pollcast-subscribers").is_some()).peekable();
    assert!(polls.peek().is_some());
    assert!(polls.all(|seen| seen.headers("authorization") == ["Bearer good"]));
}

#[tokio::test]
async fn a_refused_value_is_read_again_at_once_and_no_client_sees_the_refusal() {
    let secret = Secret::holding("Bearer one\n");
    let stand = stand(&format!("auth: {{header_file: '{}'}}", secret.path().display()));
    stand.legacy.set("/prices/A", Reply::json("{\"n\":1}"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.data, "{\"n\":1}");
    secret.replace("Bearer two\n");
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("authorization") {
        Some("Bearer two") => Reply::json("{\"n\":2}"),
        _ => Reply::empty(401),
    });
    assert_eq!(sse.next_event().await.data, "{\"n\":2}");
    assert_eq!(stand.metric("pollcast_poll_failures_total", "").await, 0.0);
}

#[tokio::test]
async fn a_file_that_is_gone_or_empty_keeps_its_last_good_value() {
    let secret = Secret::holding("one\n");
    let stand = stand(&format!("headers: {{x-api-key: '${{file:{}}}'}}", secret.path().display()));
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let _sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let failures = async |above: f64| {
        while stand.metric("pollcast_secret_file_failures_total", "").await <= above {
            stand.legacy.wait_count("/prices/A", stand.legacy.count("/prices/A") + 1).await;
        }
        stand.metric("pollcast_secret_file_failures_total", "").await
    };
    secret.replace("\n");
    let failed = failures(0.0).await;
    std::fs::remove_file(secret.path()).expect("the file");
    failures(failed).await;
    assert!(stand.legacy.all_seen().iter().all(|seen| seen.headers("x-api-key") == ["one"]));
    secret.replace("two");
    stand.legacy.wait_seen("two", |seen| seen.headers("x-api-key") == ["two"]).await;
}
