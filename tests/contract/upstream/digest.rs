//! Contract §10: polls of upstreams that want Digest authentication.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use digest_auth::{AuthContext, AuthorizationHeader};

use crate::contract::Stand;
use crate::support::client::Sse;
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::process::Folder;
use crate::support::wire::within;

const PASSWORD: &str = "p\"w\\";

/// A server with Digest whose nonces serve so many requests each.
fn camera(
    legacy: &Legacy,
    paths: &[&str],
    algorithm: &'static str,
    requests_per_nonce: usize,
) -> Arc<AtomicUsize> {
    let password = Arc::new(Mutex::new(PASSWORD.to_owned()));
    camera_with(legacy, paths, algorithm, requests_per_nonce, &password)
}

/// The same, whose password may be changed.
fn camera_with(
    legacy: &Legacy,
    paths: &[&str],
    algorithm: &'static str,
    requests_per_nonce: usize,
    password: &Arc<Mutex<String>>,
) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let served = Arc::new(AtomicUsize::new(0));
    for path in paths {
        let (asked, served, password) = (asked.clone(), served.clone(), password.clone());
        legacy.answer_with(path, move |seen| {
            let nonce = served.load(Ordering::SeqCst) / requests_per_nonce;
            if is_proven(seen, &nonce.to_string(), &password.lock().expect("a password")) {
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

fn is_proven(seen: &Seen, nonce: &str, password: &str) -> bool {
    let Some(said) = seen.header("authorization").filter(|said| said.starts_with("Digest ")) else {
        return false;
    };
    let said = AuthorizationHeader::parse(said).expect("a header of Digest");
    let mut wanted = said.clone();
    let mut context = AuthContext::new("viewer", password, &*seen.target);
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

#[tokio::test]
async fn a_replaced_password_is_tried_at_once_and_no_client_sees_the_refusal() {
    let (folder, password) = (Folder::new(), Arc::new(Mutex::new("one".to_owned())));
    let file = folder.write("password", "one\n");
    let route = format!(
        "share: public, hosts: ['127.0.0.1'], poll: {{interval: 100ms, auth: {{digest: {{username: viewer, \
         password_file: '{}'}}}}}}",
        file.display()
    );
    let stand = Stand::start(&route);
    camera_with(&stand.legacy, &["/prices/A"], "MD5-sess", usize::MAX, &password);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    {
        // Between two polls, as far as the camera can tell.
        let mut password = password.lock().expect("a password");
        folder.write("password", "two\n");
        "two".clone_into(&mut password);
    }
    for _ in 0..3 {
        assert_ne!(sse.next_event().await.event, "stale");
    }
    assert_eq!(stand.metric("pollcast_poll_failures_total", "").await, 0.0);
}

#[tokio::test]
async fn a_password_that_was_refused_keeps_its_successor_from_nothing() {
    let (folder, password) = (Folder::new(), Arc::new(Mutex::new("two".to_owned())));
    let file = folder.write("password", "one\n");
    let route = format!(
        "share: public, hosts: ['127.0.0.1'], poll: {{interval: 100ms, backoff: {{min: 100ms, max: 1h}}, auth: {{digest: \
         {{username: viewer, password: '${{file:{}}}'}}}}}}",
        file.display()
    );
    let stand = Stand::start(&route);
    let paths: Vec<String> = (0..200).map(|number| format!("/prices/{number}")).collect();
    let names: Vec<&str> = paths.iter().map(String::as_str).collect();
    camera_with(&stand.legacy, &names, "SHA-256", usize::MAX, &password);
    stand.http().await.get(&paths[0], &[]).await.expect(502);
    let tried =
        || stand.legacy.all_seen().iter().filter(|seen| seen.header("authorization").is_some()).count();
    assert_eq!(tried(), 1);
    folder.write("password", "two\n");
    let reached = async {
        for path in &paths[1..] {
            if stand.http().await.get(path, &[]).await.status == 200 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the new password was never tried");
    };
    within("an answer to the new password", reached).await;
    assert_eq!(tried(), 2);
}

#[tokio::test]
async fn the_probe_says_the_password_as_polls_do() {
    let (folder, legacy) = (Folder::new(), Legacy::start());
    camera(&legacy, &["/prices/A"], "SHA-256", usize::MAX);
    let check = |route: &str| {
        let file = folder.write("p.yaml", &crate::contract::config(&legacy, route, ""));
        let output = Command::new(env!("CARGO_BIN_EXE_pollcast"))
            .args(["check", "--polls", "2", "--every", "100ms", "--probe", "/prices/A", "-c"])
            .arg(file)
            .output()
            .expect("the binary runs");
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.success(), text.concat())
    };
    let (is_well, text) = check(ROUTE);
    assert!(is_well && !text.contains("401"), "{text}");
    let proven = legacy.all_seen().iter().filter(|seen| seen.header("authorization").is_some()).count();
    assert!(proven > 2, "{proven}");
    legacy.forget();
    let (is_well, text) = check(&ROUTE.replace("viewer", "stranger"));
    assert!(!is_well && text.contains("refuses the password of poll.auth.digest"), "{text}");
    let tried = legacy.all_seen().iter().filter(|seen| seen.header("authorization").is_some()).count();
    assert_eq!(tried, 1, "no account is locked for a probe");
}
