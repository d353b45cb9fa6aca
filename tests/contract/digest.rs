//! Contract §10: polls of upstreams that want Digest authentication.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use digest_auth::{AuthContext, AuthorizationHeader};

use super::Stand;
use crate::support::client::Sse;
use crate::support::legacy::{Legacy, Reply, Seen};

/// A server with Digest whose nonces serve so many requests each.
fn camera(
    legacy: &Legacy,
    paths: &[&str],
    algorithm: &'static str,
    requests_per_nonce: usize,
) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let served = Arc::new(AtomicUsize::new(0));
    for path in paths {
        let (asked, served) = (asked.clone(), served.clone());
        legacy.answer_with(path, move |seen| {
            let nonce = served.load(Ordering::SeqCst) / requests_per_nonce;
            if is_proven(seen, &nonce.to_string()) {
                let count = served.fetch_add(1, Ordering::SeqCst);
                return Reply::json(format!("{{\"frame\":{count}}}"));
            }
            asked.fetch_add(1, Ordering::SeqCst);
            let parameters = match algorithm {
                "" => String::new(),
                name => format!(", qop=\"auth\", algorithm={name}"),
            };
            Reply::text("who?").status(401).header("WWW-Authenticate", "Basic realm=\"camera\"").header(
                "WWW-Authenticate",
                &format!("Digest realm=\"camera\", nonce=\"{nonce}\"{parameters}"),
            )
        });
    }
    asked
}

fn is_proven(seen: &Seen, nonce: &str) -> bool {
    let Some(said) = seen.header("authorization").filter(|said| said.starts_with("Digest ")) else {
        return false;
    };
    let said = AuthorizationHeader::parse(said).expect("a header of Digest");
    let mut wanted = said.clone();
    let mut context = AuthContext::new("viewer", "p\"w\\", &*seen.target);
    context.cnonce = said.cnonce.clone().map(Into::into);
    wanted.digest(&context);
    said.nonce == nonce && said.uri == seen.target && said.response == wanted.response
}

const ROUTE: &str = r#"share: public, hosts: ['127.0.0.1'], poll: {interval: 100ms, auth: {digest: {username: viewer, password: 'p"w\'}}}"#;

#[tokio::test]
async fn one_401_a_nonce_and_not_one_a_poll() {
    for algorithm in ["", "MD5", "MD5-sess", "SHA-256", "SHA-256-sess"] {
        let stand = Stand::start(ROUTE);
        let asked = camera(&stand.legacy, &["/prices/A"], algorithm, 5);
        let mut sse = Sse::open(stand.address(), "/prices/A?x=1&y", &[]).await;
        for _ in 0..11 {
            sse.next_event().await;
        }
        let asked = asked.load(Ordering::SeqCst);
        assert!((2..=4).contains(&asked), "{algorithm}: {asked} for 11 polls");
    }
}

#[tokio::test]
async fn concurrent_polls_share_a_nonce_and_count_its_uses() {
    let stand = Stand::start(ROUTE);
    let paths = ["/prices/A", "/prices/B", "/prices/C", "/prices/D"];
    let asked = camera(&stand.legacy, &paths, "SHA-256", usize::MAX);
    let mut streams = Vec::new();
    for path in paths {
        streams.push(Sse::open(stand.address(), path, &[]).await);
    }
    for sse in &mut streams {
        for _ in 0..3 {
            sse.next_event().await;
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let proofs = stand.legacy.all_seen();
    let proofs =
        proofs.iter().filter_map(|seen| AuthorizationHeader::parse(seen.header("authorization")?).ok());
    let mut counts: Vec<u32> = proofs.map(|proof| proof.nc).collect();
    counts.sort_unstable();
    let wanted: Vec<u32> = (1..=counts.len() as u32).collect();
    assert_eq!(counts, wanted);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_by_all_resources_together() {
    let route =
        ROUTE.replace("viewer", "stranger").replace("100ms,", "100ms, backoff: {min: 100ms, max: 1h},");
    let stand = Stand::start(&route);
    let paths = ["/prices/A", "/prices/B", "/prices/C"];
    camera(&stand.legacy, &paths, "MD5", 100);
    let streams =
        futures_util::future::join_all(paths.map(|path| Sse::open(stand.address(), path, &[]))).await;
    for mut sse in streams {
        let stale = sse.next_named("stale").await;
        assert!(stale.data.contains("refuses the password of poll.auth.digest"), "{}", stale.data);
    }
    let admin = stand.app.admin_address().expect("the admin listener");
    let resources = crate::support::client::Http::connect(admin).await.get("/resources", &[]).await.text();
    assert!(resources.contains("refuses the password of poll.auth.digest"), "{resources}");
    assert!(stand.metric("pollcast_poll_failures_total", "auth").await >= 3.0);
    let tried = stand.legacy.all_seen();
    let tried = tried.iter().filter(|seen| seen.header("authorization").is_some()).count();
    assert_eq!(tried, 1);
}
