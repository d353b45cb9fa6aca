//! TLS towards upstreams: the servers that pollcast trusts, and the certificate that it shows.

use crate::contract::Stand;
use crate::contract::edge::support::{Extra, start_with};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Folder;
use crate::support::tls::{Authority, Identity};

/// pollcast in front of this API, which is reached with these keys of `tls`.
fn stand(legacy: Legacy, tls: &str) -> Stand {
    legacy.set("/r/a", Reply::json(r#"{"n":1}"#));
    legacy.set("/x", Reply::text("through"));
    let upstream = format!(", host: '127.0.0.1', tls: {{{tls}}}");
    let app = start_with(&legacy, Extra { upstream: &upstream, ..Extra::default() });
    Stand { legacy, app }
}

/// What a poll and a request that passes through get.
async fn answers(stand: &Stand) -> [(u16, String); 2] {
    let mut answers = [(0, String::new()), (0, String::new())];
    for (answer, path) in answers.iter_mut().zip(["/r/a", "/x"]) {
        let response = stand.http().await.get(path, &[]).await;
        *answer = (response.status, response.text());
    }
    answers
}

#[tokio::test]
async fn a_server_that_is_not_the_one_meant_gets_no_request() {
    let (ours, others, folder) = (Authority::new(), Authority::new(), Folder::new());
    let ca = folder.write("ca.pem", &ours.pem);
    let ours_only = format!("ca: '{}'", ca.display());
    for (server, tls, is_reached) in [
        (ours.certify(&["127.0.0.1"]), ours_only.clone(), true),
        (ours.certify(&["api.example"]), format!("{ours_only}, sni: api.example"), true),
        (others.certify(&["127.0.0.1"]), format!("{ours_only}, verify: false"), true),
        (ours.certify(&["api.example"]), ours_only.clone(), false),
        (ours.certify(&["127.0.0.1"]), format!("{ours_only}, sni: api.example"), false),
        (others.certify(&["127.0.0.1"]), ours_only.clone(), false),
        // By default the system's authorities are asked, and ours is none of them.
        (ours.certify(&["127.0.0.1"]), String::new(), false),
        (ours.certify_expired(&["127.0.0.1"]), ours_only.clone(), false),
    ] {
        let stand = stand(Legacy::start_tls(&server), &tls);
        let [poll, passed] = answers(&stand).await;
        if is_reached {
            assert_eq!(poll, (200, r#"{"n":1}"#.to_owned()), "{tls}");
            assert_eq!(passed, (200, "through".to_owned()), "{tls}");
            continue;
        }
        assert_eq!((poll.0, passed.0), (502, 502), "{tls}: {} {}", poll.1, passed.1);
        // Both say the same, and nothing of the servers' certificates.
        let detail = r#""detail":"upstream \"legacy\": TLS failed""#;
        assert!(poll.1.contains(detail), "{tls}: {}", poll.1);
        assert!(passed.1.contains(detail), "{tls}: {}", passed.1);
        assert!(stand.metric("pollcast_poll_failures_total", "class=\"tls\"").await >= 1.0, "{tls}");
        assert_eq!(stand.legacy.all_seen().len(), 0, "{tls}");
    }
}

#[tokio::test]
async fn a_server_that_asks_is_shown_the_certificate_configured() {
    let (servers, clients, others, folder) =
        (Authority::new(), Authority::new(), Authority::new(), Folder::new());
    let server = servers.certify(&["127.0.0.1"]);
    let ca = folder.write("ca.pem", &servers.pem);
    let tls = |shown: Option<&Identity>| {
        let mut tls = format!("ca: '{}'", ca.display());
        if let Some(shown) = shown {
            let cert = folder.write("own.crt", &shown.cert_pem);
            let key = folder.write("own.key", &shown.key_pem);
            tls += &format!(", cert: '{}', key: '{}'", cert.display(), key.display());
        }
        tls
    };
    let (known, unknown) = (clients.certify_client("pollcast"), others.certify_client("pollcast"));
    for (shown, let_in) in [(Some(&known), true), (None, false), (Some(&unknown), false)] {
        let stand = stand(Legacy::start_asking(&server, &clients), &tls(shown));
        let [poll, passed] = answers(&stand).await;
        if let_in {
            assert_eq!((poll.0, passed.0), (200, 200), "{} {}", poll.1, passed.1);
        } else {
            assert_eq!((poll.0, passed.0), (502, 502), "{} {}", poll.1, passed.1);
            let said = ["the server wants a certificate", "the server refuses pollcast's certificate"];
            assert!(said.iter().any(|said| poll.1.contains(said)), "{}", poll.1);
            assert_eq!(stand.legacy.all_seen().len(), 0);
        }
    }
}

/// What another poll and another request that passes through get: 200 or 502 both.
async fn status(stand: &Stand) -> u16 {
    let path = format!("/r/{:016x}", fastrand::u64(..));
    stand.legacy.set(&path, Reply::json("1"));
    let mut http = stand.http().await;
    let [poll, passed] = [http.get(&path, &[]).await.status, http.get("/x", &[]).await.status];
    assert_eq!(poll, passed);
    poll
}

async fn reloaded(stand: &Stand, outcome: &str, count: f64) {
    stand.metric_becomes("pollcast_certificate_reloads_total", outcome, count).await;
}

#[tokio::test]
async fn new_authorities_are_believed_from_the_next_connection_on_and_old_ones_no_more() {
    let (ours, others, folder) = (Authority::new(), Authority::new(), Folder::new());
    let ca = folder.write("ca.pem", &others.pem);
    let server = Legacy::start_tls(&ours.certify(&["127.0.0.1"]));
    let stand = stand(server, &format!("ca: '{}', reload: off", ca.display()));
    assert_eq!(status(&stand).await, 502);
    folder.write("ca.pem", &ours.pem);
    stand.app.reload();
    reloaded(&stand, "new", 1.0).await;
    assert_eq!(status(&stand).await, 200);
    folder.write("ca.pem", "nothing");
    stand.app.reload();
    reloaded(&stand, "bad", 1.0).await;
    assert_eq!(status(&stand).await, 200, "bad files change nothing");
    // Idle connections to a server that no authority vouches for any more serve no request.
    folder.write("ca.pem", &others.pem);
    stand.app.reload();
    reloaded(&stand, "new", 2.0).await;
    assert_eq!(status(&stand).await, 502);
}

#[tokio::test]
async fn a_new_certificate_of_our_own_is_shown_without_being_told() {
    let (servers, clients, others, folder) =
        (Authority::new(), Authority::new(), Authority::new(), Folder::new());
    let (known, unknown) = (clients.certify_client("pollcast"), others.certify_client("pollcast"));
    let ca = folder.write("ca.pem", &servers.pem);
    let cert = folder.write("own.crt", &unknown.cert_pem);
    let key = folder.write("own.key", &unknown.key_pem);
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    let tls = format!("ca: '{ca}', cert: '{cert}', key: '{key}', reload: 1s");
    let server = Legacy::start_asking(&servers.certify(&["127.0.0.1"]), &clients);
    let stand = stand(server, &tls);
    assert_eq!(status(&stand).await, 502);
    // Half of the new pair.
    folder.write("own.crt", &known.cert_pem);
    reloaded(&stand, "bad", 1.0).await;
    assert_eq!(status(&stand).await, 502);
    folder.write("own.key", &known.key_pem);
    reloaded(&stand, "new", 1.0).await;
    assert_eq!(status(&stand).await, 200);
}
