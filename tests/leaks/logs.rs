//! What the process writes about its clients: neither their credentials, nor what they got.
//!
//! Must not know: what a line of the log looks like.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::acts::Scene;
use super::matrix::{Case, SETTINGS, Sharing};
use super::people::{Person, Place, USERS};
use super::recorder::{Step, find, leak};
use super::upstream::Style;
use super::world::World;
use crate::support::process::Process;

/// How long a single answer is listened to.
const SHORT: Duration = Duration::from_millis(300);

/// Everything pollcast itself has to say, and the usual of all others.
const LOGGED: &str = "info,pollcast=trace";

async fn logs_nothing_of_its_clients(sharing: Sharing, place: Place, style: Style) {
    let case = Case { sharing, place, setting: SETTINGS[0], style, http2: false, tls: false }.sound();
    let world = Arc::new(World::of(&case));
    let yaml = case
        .yaml(&world)
        .replacen("127.0.0.1:0", "PUBLIC_ADDRESS", 1)
        .replacen("127.0.0.1:0", "ADMIN_ADDRESS", 1)
        .replace("log: {access: false}", "log: {access: true}");
    let process = Process::start_told(&yaml, &[("RUST_LOG", Path::new(LOGGED))]).await;
    let scene = Scene {
        address: process.address,
        place,
        world: world.clone(),
        beside: false,
        heard: Vec::new(),
        chosen_by: None,
    };
    let mut got = Vec::new();
    for who in USERS {
        got.extend(scene.look_around(who).await);
    }
    let (alice, robert) = tokio::join!(scene.everything(USERS[0]), scene.everything(USERS[1]));
    got.extend(alice.into_iter().chain(robert));
    // Keys in queries that no configuration names, covered and not, and where servers read them anyhow.
    for target in
        ["/r/x?api_key=KEY", "/r/x?_push=sse&k=KEY", "/elsewhere?k=KEY", "/r/x?a=KEY&%zz", "/r//x?KEY"]
    {
        let target = target.replace("KEY", Person::Alice.key());
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        scene.talk(Person::Alice, &[Step::Send(request.into_bytes()), Step::Listen(SHORT)]).await;
    }
    // Heads that cannot be read are not printed, either.
    for broken in
        ["Host : x\r\n", "no colon\r\n", "A: \0\r\n", "Content-Length: 1, 2\r\nA: b\r\n", "\u{e9}: b\r\n"]
    {
        let key = Person::Alice.key();
        let request = format!("GET /r/x?k={key} HTTP/1.1\r\nX-Api-Key: {key}\r\n{broken}\r\n");
        scene.talk(Person::Alice, &[Step::Send(request.into_bytes()), Step::Listen(SHORT)]).await;
    }
    world.legacy.stop().await;
    let request = scene.get(Person::Robert, "/elsewhere").bytes();
    scene.talk(Person::Robert, &[Step::Send(request), Step::Listen(SHORT)]).await;
    for recording in &got {
        assert_eq!(leak(recording.who, &recording.plain()), None, "{}", case.title());
    }
    process.signal("TERM");
    process.wait_exit_within(Duration::from_secs(20)).await;
    let log = process.stderr();
    assert!(find(log.as_bytes(), b"/r/x").is_some(), "nothing was logged:\n{log}");
    // No output may say anything of either.
    assert_eq!(leak(Person::Nobody, log.as_bytes()), None, "{}", case.title());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_names_no_credentials_and_no_rows() {
    tokio::join!(
        logs_nothing_of_its_clients(Sharing::By, Place::JwtQuery, Style::Redirects),
        logs_nothing_of_its_clients(Sharing::Unset, Place::Basic, Style::Fails),
        logs_nothing_of_its_clients(Sharing::By, Place::TwoCookies, Style::Rotates),
        logs_nothing_of_its_clients(Sharing::Authorize, Place::ApiKey, Style::Tagged),
        logs_nothing_of_its_clients(Sharing::ByIdentity, Place::JwtCookie, Style::VarySubject),
        logs_nothing_of_its_clients(Sharing::By, Place::Forward, Style::Private),
        logs_nothing_of_its_clients(Sharing::By, Place::Certificate, Style::Silent),
    );
}
