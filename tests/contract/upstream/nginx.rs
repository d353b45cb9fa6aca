//! A real nginx with old protocols and ciphers × ways of asking, each with what `curl` does beside it (contract §10).

use std::process::Command;

use super::ways::expect;
use crate::support::nginx::Nginx;
use crate::support::openssl::{Made, OldServer, Says, made};
use crate::support::process::Folder;

const NAME: &str = "legacy.test";

/// Whether curl gets an answer with this file of authorities, and with these words beside it.
fn curl(nginx: &Nginx, ca: &str, words: &[&str]) -> bool {
    let port = nginx.address.port();
    let output = Command::new("curl")
        .args(["-sS", "-m", "10", "-o", "/dev/null", "--noproxy", "*", "--cacert", ca])
        .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1"), &format!("https://{NAME}:{port}/x")])
        .args(words)
        .output()
        .expect("curl: install Debian's package curl");
    output.status.success()
}

/// What makes curl speak old protocols.
const OLD: [&str; 3] = ["--tlsv1.0", "--ciphers", "ALL:@SECLEVEL=0"];

#[tokio::test]
async fn an_old_nginx_is_reached_in_all_ways_by_those_that_ask_for_it_and_not_a_byte_by_others() {
    let folder = Folder::new();
    let says = Says { alternative: Some(NAME), rsa: Some(2048), ..Says::name(NAME) };
    let (own, other): (Made, Made) = (made(says, None), made(says, None));
    let ca = folder.write("ca.pem", &own.pem()).display().to_string();
    let strange = folder.write("other.pem", &other.pem()).display().to_string();
    let (by_ca, by_pin) = (format!("ca: '{ca}', sni: {NAME}"), format!("pin: [{}]", own.pins()[0]));
    // What it speaks, and whether that is new enough for curl and for pollcast as they come.
    for (speaks, is_new) in [
        ("ssl_protocols TLSv1; ssl_ciphers ALL:@SECLEVEL=0;", false),
        ("ssl_protocols TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;", false),
        ("ssl_protocols TLSv1.2; ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;", true),
        ("ssl_protocols TLSv1.3;", true),
    ] {
        let server = OldServer::start_plain();
        let nginx = Nginx::start(&own, server.address, speaks).await;
        assert_eq!(curl(&nginx, &ca, &[]), is_new, "{speaks}");
        assert!(curl(&nginx, &ca, &OLD), "{speaks}");
        assert!(!curl(&nginx, &strange, &OLD), "{speaks}");
        let asked = server.heads().len();
        assert_eq!(asked, if is_new { 2 } else { 1 }, "{speaks}: what curl asked");
        let of = |tls: &str| format!("servers: ['{}'], tls: {{{tls}}}", nginx.address);
        let refused = OldServer::start_plain();
        let closed = Nginx::start(&own, refused.address, speaks).await;
        let of_closed = |tls: &str| of(tls).replace(&nginx.address.to_string(), &closed.address.to_string());
        for tls in [&by_ca, &by_pin] {
            if is_new {
                expect(&server, &of(tls), true).await;
            } else {
                expect(&refused, &of_closed(tls), false).await;
            }
            expect(&server, &of(&format!("{tls}, legacy: true")), true).await;
        }
        expect(&refused, &of_closed(&format!("ca: '{strange}', sni: {NAME}, legacy: true")), false).await;
    }
}

#[tokio::test]
async fn what_an_nginx_with_weak_ciphers_wants_is_told_with_the_key_that_speaks_them() {
    let folder = Folder::new();
    let own = made(Says { alternative: Some(NAME), rsa: Some(2048), ..Says::name(NAME) }, None);
    let ca = folder.write("ca.pem", &own.pem()).display().to_string();
    for speaks in [
        // RSA's key exchange, and CBC with it.
        "ssl_protocols TLSv1.2; ssl_ciphers AES256-SHA:@SECLEVEL=0;",
        "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-RSA-AES256-SHA384:@SECLEVEL=0;",
    ] {
        let (server, refused) = (OldServer::start_plain(), OldServer::start_plain());
        let nginx = Nginx::start(&own, server.address, speaks).await;
        let closed = Nginx::start(&own, refused.address, speaks).await;
        assert!(curl(&nginx, &ca, &OLD), "{speaks}");
        let tls = format!("tls: {{ca: '{ca}', sni: {NAME}");
        expect(&refused, &format!("servers: ['{}'], {tls}}}", closed.address), false).await;
        expect(&server, &format!("servers: ['{}'], {tls}, legacy: true}}", nginx.address), true).await;
    }
}
