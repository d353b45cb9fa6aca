//! Feeds of several nodes: each item is told once, on whichever node.

use super::*;
use crate::config::Feed;

fn feed(route: &mut Route) {
    route.feed = Some(Feed {
        items: "/items".into(),
        id: vec!["/id".into()],
        order: None,
        cursor: None,
        pages: None,
        replay: 100,
        tells_updates: false,
        tells_returns: true,
        history: 1000,
    });
}

fn feeds(count: usize) -> Nodes {
    Nodes::new(count, Some(7), feed, 0)
}

/// Each number once, in order, up to the newest.
fn assert_all(client: &Client, nodes: &Nodes) {
    let first: u64 = client.items.first().and_then(|id| id.parse().ok()).expect("items came");
    let wanted: Vec<String> = (first..=nodes.upstream.now()).map(|n| n.to_string()).collect();
    assert_eq!(client.items, wanted, "{:?}", client.resets);
}

async fn news(nodes: &Nodes, clients: &mut [Client], count: usize) {
    for n in 0..count {
        nodes.upstream.change();
        if n % 3 == 0 {
            nodes.upstream.change();
        }
        pass(nodes, clients, SECOND).await;
    }
    pass(nodes, clients, 3 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn items_are_told_once_on_all_nodes() {
    let nodes = feeds(3);
    let mut clients = clients(&nodes, 3);
    news(&nodes, &mut clients, 10).await;
    clients.iter().for_each(|client| assert_all(client, &nodes));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn items_are_told_once_when_another_node_takes_over() {
    let nodes = feeds(2);
    let mut clients = clients(&nodes, 2);
    for holder in [1, 0, 1] {
        news(&nodes, &mut clients, 4).await;
        nodes.upstream.change();
        nodes.engine.give(PATH, holder);
        news(&nodes, &mut clients, 4).await;
    }
    clients.iter().for_each(|client| assert_all(client, &nodes));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn items_are_told_once_when_a_node_was_cut_off() {
    let nodes = feeds(2);
    let mut clients = clients(&nodes, 2);
    news(&nodes, &mut clients, 4).await;
    for node in [1, 0] {
        nodes.engine.cut(node);
        news(&nodes, &mut clients, 4).await;
        nodes.engine.mend(node);
        news(&nodes, &mut clients, 4).await;
    }
    clients.iter().for_each(|client| assert_all(client, &nodes));
    // Nothing was missed, and none is told that it was.
    clients.iter().for_each(|client| assert!(client.resets.is_empty(), "{:?}", client.resets));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_goes_on_from_its_item_on_another_node() {
    let nodes = feeds(2);
    let mut clients = clients(&nodes, 2);
    news(&nodes, &mut clients, 6).await;
    for node in [1, 0, 1] {
        clients[0].join(&nodes, node);
        news(&nodes, &mut clients, 3).await;
    }
    assert_all(&clients[0], &nodes);
    assert!(clients[0].resets.is_empty(), "{:?}", clients[0].resets);
    wind_up(&nodes, clients).await;
}
