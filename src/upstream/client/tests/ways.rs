//! Several addresses, sockets: on each of them a client asks as on one.

use std::io;

use super::super::Whose;
use super::*;
use crate::upstream::servers::Resolver;

/// Says these addresses of any name.
struct All(Vec<SocketAddr>);

#[async_trait::async_trait]
impl Resolver for All {
    async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn a_dead_address_of_a_name_delays_one_poll_by_a_moment_and_no_other() {
    // The second connection is the one that was made on behalf of the dead address.
    let answers = || vec![keep(OK), keep(OK), keep(OK), keep(OK)];
    let mut server = Server::start(vec![answers(), answers()]).await;
    let (_held, dead) = silent().await;
    let good = server.address.parse().unwrap();
    let upstream = Arc::new(upstream_of(&["legacy.test:80"]));
    let client = Client::with_resolver(upstream, Arc::new(All(vec![dead, good]))).unwrap();
    for _ in 0..4 {
        let answer = client.fetch(&get("/")).await.unwrap();
        assert!(answer.elapsed < PATIENCE / 2, "{:?}", answer.elapsed);
        assert!(server.next_request().await < 2, "connections are kept");
    }
}

#[tokio::test]
async fn a_name_with_a_dead_family_is_reached_by_the_other_one_whichever_is_first() {
    // Of a machine without IPv6 there are two addresses of IPv4.
    let has_ipv6 = TcpListener::bind("[::1]:0").await.is_ok();
    let (one, other) = ("127.0.0.1:0", if has_ipv6 { "[::1]:0" } else { "127.0.0.2:0" });
    for (good, dead) in [(one, other), (other, one)] {
        for refuses in [false, true] {
            let mut server = Server::start_on(good, vec![vec![keep(OK)], vec![keep(OK)]]).await;
            let good: SocketAddr = server.address.parse().unwrap();
            let (held, silent) = silent_on(dead).await;
            if refuses {
                drop(held);
            }
            for order in [vec![silent, good], vec![good, silent]] {
                let upstream = Arc::new(upstream_of(&["legacy.test:80"]));
                let client = Client::with_resolver(upstream, Arc::new(All(order))).unwrap();
                let answer = client.fetch(&get("/")).await.unwrap();
                assert!(answer.elapsed < PATIENCE / 2, "{good} beside {silent}: {:?}", answer.elapsed);
                // The end of the client before may be seen first.
                while !matches!(server.seen().await, Seen::Request(..)) {}
            }
        }
    }
}

#[tokio::test]
async fn what_passes_through_to_a_name_of_several_addresses_has_one_key_for_each_of_them() {
    let all: Vec<SocketAddr> = ["10.0.0.1:80", "10.0.0.2:80"].map(|text| text.parse().unwrap()).to_vec();
    let upstream = Arc::new(upstream_of(&["legacy.test:80"]));
    let client = Client::with_resolver(upstream, Arc::new(All(all))).unwrap();
    let key = async || client.peer(Whose::Anybodys, false).await.unwrap().peer.group_key;
    let keys = [key().await, key().await, key().await, key().await];
    assert_eq!((keys[0], keys[1]), (keys[2], keys[3]));
    assert_ne!(keys[0], keys[1]);
    let one = client_of(&["127.0.0.1:3000"]).peer(Whose::Anybodys, false).await.unwrap();
    assert!(one.peer.options.custom_l4.is_none(), "one address costs nothing");
}

#[cfg(feature = "openssl")]
#[tokio::test]
async fn keys_of_pools_differ_by_all_that_trust_depends_on() {
    let key = async |change: fn(&mut config::Upstream)| {
        let mut upstream = upstream_of(&["127.0.0.1:80"]);
        upstream.tls = Some(config::UpstreamTls::unsaid());
        // With OpenSSL, so that the system needs no authorities.
        let tls = upstream.tls.as_mut().unwrap();
        (tls.verify, tls.legacy) = (false, true);
        change(&mut upstream);
        let client = Client::new(Arc::new(upstream)).unwrap();
        client.peer(Whose::Anybodys, false).await.unwrap().peer.group_key
    };
    let keys = [
        key(|_| {}).await,
        key(|upstream| upstream.tls.as_mut().unwrap().sni = Some("a.test".into())).await,
        key(|upstream| upstream.proxy = Some(Arc::new(config::Proxy::parse("http://p:1").unwrap()))).await,
        key(|upstream| upstream.proxy = Some(Arc::new(config::Proxy::parse("socks5://p:1").unwrap()))).await,
        key(|upstream| upstream.proxy = Some(Arc::new(config::Proxy::parse("http://a:b@p:1").unwrap())))
            .await,
        key(|upstream| upstream.proxy = Some(Arc::new(config::Proxy::parse("http://a:c@p:1").unwrap())))
            .await,
    ];
    for (at, one) in keys.iter().enumerate() {
        assert!(!keys[at + 1..].contains(one), "{at}");
    }
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_told_with_its_path_and_not_to_clients() {
    let error = client_of(&["unix:/nonexistent/app.sock"]).fetch(&get("/")).await.unwrap_err();
    let wanted = "upstream \"legacy\" (unix:/nonexistent/app.sock): cannot connect: \
                  the socket /nonexistent/app.sock: there is no such socket";
    assert_eq!(error.to_string(), wanted);
    assert_eq!((error.class(), error.failure.for_clients()), ("connect", "cannot connect".to_owned()));
}
