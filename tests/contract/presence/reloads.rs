//! A reload changes what is told, and ends no stream; one that begins to count has clients come back.

use std::path::Path;

use serde_json::json;

use super::{JWT, WATCH, follow, stand, subjects, until_count};
use crate::contract::{FAST, Stand, config};

fn reload(stand: &Stand, route: &str) {
    let yaml = config(&stand.legacy, &format!("{FAST}, share: public, {route}"), "");
    let config = pollcast::config::load_str(&yaml, "new.yaml", Path::new("."));
    stand.app.reconfigure(config.unwrap_or_else(|problems| panic!("{problems}\n{yaml}")));
}

#[tokio::test]
async fn names_are_told_or_not_as_the_newest_configuration_says() {
    let stand = stand(&format!("{JWT}, presence: {{interval: 100ms}}"));
    let mut ann = follow(&stand, WATCH, "ann").await;
    until_count(&mut ann, 1).await;
    reload(&stand, &format!("{JWT}, presence: {{interval: 100ms, names: true}}"));
    let bob = follow(&stand, "/prices/A", "bob").await;
    assert_eq!(until_count(&mut ann, 2).await["joined"], subjects(&["bob"]), "the stream went on");
    reload(&stand, &format!("{JWT}, presence: {{interval: 100ms}}"));
    drop(bob);
    assert_eq!(until_count(&mut ann, 1).await["left"], json!([]));
}

#[tokio::test]
async fn a_route_that_begins_to_count_has_its_clients_come_back() {
    let stand = stand(JWT);
    let mut ann = follow(&stand, "/prices/A", "ann").await;
    reload(&stand, &format!("{JWT}, presence: {{interval: 100ms}}"));
    let bye = ann.next_named("bye").await;
    assert!(bye.data.contains("reconfigured"), "{bye:?}");
    let mut again = follow(&stand, WATCH, "ann").await;
    until_count(&mut again, 1).await;
}
