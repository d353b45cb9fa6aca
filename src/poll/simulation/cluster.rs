//! What nodes that poll together promise (contract §13): one of them polls, all show the same, and no client goes back.

mod feeds;
mod seeds;

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::engine::LEASE;
use super::nodes::{Client, Nodes, PATH, pass};
use crate::config::Route;
use crate::frame::State;
use crate::hub::tests::route::SECOND;
use crate::hub::{Attend, Touch};

const MS: Duration = Duration::from_millis(1);

fn nodes(count: usize) -> Nodes {
    Nodes::new(count, None, |_| {}, 0)
}

/// A client on each node.
fn clients(nodes: &Nodes, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::default()).collect();
    clients.iter_mut().enumerate().for_each(|(node, client)| client.join(nodes, node));
    clients
}

/// Lets go of everything and waits until nothing is left.
async fn wind_up(nodes: &Nodes, clients: Vec<Client>) {
    drop(clients);
    nodes.look();
    sleep(100 * SECOND).await;
    nodes.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn one_node_polls_and_all_show_each_state_once() {
    let nodes = nodes(3);
    let mut clients = clients(&nodes, 3);
    for _ in 0..20 {
        nodes.upstream.change();
        pass(&nodes, &mut clients, 2 * SECOND).await;
    }
    let polls = nodes.upstream.count();
    assert!((36..=45).contains(&polls), "{polls} polls in forty intervals");
    for client in &clients {
        let states: Vec<u64> = (1..=21).filter(|n| client.seen.contains(n)).collect();
        assert_eq!(client.seen.len(), states.len(), "each once: {:?}", client.seen);
        assert_eq!(*client.seen.last().expect("states came"), nodes.upstream.now());
    }
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_has_the_state_without_a_poll() {
    let nodes = nodes(2);
    let mut clients = clients(&nodes, 1);
    pass(&nodes, &mut clients, 500 * MS).await;
    let polls = nodes.upstream.count();
    let mut late = Client::default();
    late.join(&nodes, 1);
    clients.push(late);
    pass(&nodes, &mut clients, 100 * MS).await;
    assert_eq!((nodes.upstream.count(), &clients[1].seen), (polls, &vec![1]));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_holder_goes_on_at_the_same_time_with_the_same_validators() {
    let nodes = Nodes::new(2, None, |route: &mut Route| route.poll.interval = 10 * SECOND, 0);
    let mut clients = clients(&nodes, 2);
    pass(&nodes, &mut clients, 12 * SECOND).await;
    assert_eq!(nodes.engine.holder(PATH), Some(0));
    let before = nodes.upstream.count();
    nodes.engine.give(PATH, 1);
    pass(&nodes, &mut clients, 2 * SECOND).await;
    assert_eq!(nodes.upstream.count(), before, "not before its time");
    pass(&nodes, &mut clients, 10 * SECOND).await;
    let polls = nodes.upstream.polls.lock().clone();
    assert_eq!(polls.len(), before + 1);
    assert!(polls[before].1, "it asks for what is new");
    assert_eq!(clients[1].seen, [1], "nothing is told twice");
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_holder_brings_after_it_was_replaced_is_shown_to_no_client() {
    let nodes = nodes(2);
    let mut clients = clients(&nodes, 2);
    pass(&nodes, &mut clients, 500 * MS).await;
    // Its poll has read the old state, and takes long.
    *nodes.upstream.latency.lock() = 3 * SECOND;
    pass(&nodes, &mut clients, SECOND).await;
    nodes.engine.give(PATH, 1);
    *nodes.upstream.latency.lock() = 10 * MS;
    let newest = nodes.upstream.change();
    pass(&nodes, &mut clients, 10 * SECOND).await;
    assert_eq!((nodes.shown(0), nodes.shown(1)), (newest, newest));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_are_cut_off_poll_for_themselves_and_then_together_again() {
    let nodes = nodes(3);
    let mut clients = clients(&nodes, 3);
    pass(&nodes, &mut clients, 3 * SECOND).await;
    (0..3).for_each(|node| nodes.engine.cut(node));
    let cut_at = Instant::now();
    for _ in 0..10 {
        nodes.upstream.change();
        pass(&nodes, &mut clients, SECOND).await;
    }
    let alone = nodes.upstream.count_since(cut_at);
    assert!((27..=35).contains(&alone), "{alone} polls of three nodes in ten intervals");
    (0..3).for_each(|node| nodes.engine.mend(node));
    pass(&nodes, &mut clients, 3 * SECOND).await;
    let together_at = Instant::now();
    for _ in 0..10 {
        nodes.upstream.change();
        pass(&nodes, &mut clients, SECOND).await;
    }
    let together = nodes.upstream.count_since(together_at);
    assert!((9..=12).contains(&together), "{together} polls in ten intervals");
    pass(&nodes, &mut clients, 2 * SECOND).await;
    (0..3).for_each(|node| assert_eq!(nodes.shown(node), nodes.upstream.now(), "node {node}"));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_polled_for_itself_takes_the_holders_state_although_it_is_older_in_number() {
    let nodes = nodes(2);
    let mut clients = clients(&nodes, 2);
    pass(&nodes, &mut clients, 3 * SECOND).await;
    // The mirror is cut off, and nothing changes any more that the holder would have to write.
    nodes.engine.cut(1);
    pass(&nodes, &mut clients, 5 * SECOND).await;
    nodes.engine.mend(1);
    pass(&nodes, &mut clients, 3 * SECOND).await;
    let mended_at = Instant::now();
    pass(&nodes, &mut clients, 10 * SECOND).await;
    let polls = nodes.upstream.count_since(mended_at);
    assert!((8..=12).contains(&polls), "{polls} polls in ten intervals: one node polls");
    let newest = nodes.upstream.change();
    pass(&nodes, &mut clients, 2 * SECOND).await;
    assert_eq!(nodes.shown(1), newest);
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_cut_off_is_replaced() {
    let nodes = nodes(2);
    let mut clients = clients(&nodes, 2);
    pass(&nodes, &mut clients, 3 * SECOND).await;
    nodes.engine.cut(0);
    pass(&nodes, &mut clients, 2 * LEASE).await;
    assert_eq!(nodes.engine.holder(PATH), Some(1));
    let newest = nodes.upstream.change();
    pass(&nodes, &mut clients, 3 * SECOND).await;
    assert_eq!((nodes.shown(0), nodes.shown(1)), (newest, newest), "each polls");
    nodes.engine.mend(0);
    let newest = nodes.upstream.change();
    pass(&nodes, &mut clients, 5 * SECOND).await;
    assert_eq!((nodes.shown(0), nodes.shown(1)), (newest, newest));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_lost_contents_makes_no_node_show_what_is_older() {
    let nodes = nodes(2);
    let mut clients = clients(&nodes, 2);
    for _ in 0..5 {
        nodes.upstream.change();
        pass(&nodes, &mut clients, SECOND).await;
    }
    nodes.engine.lose_contents(PATH, 1);
    // What is written after it is greater, and goes on as before.
    let newest = nodes.upstream.change();
    pass(&nodes, &mut clients, 5 * SECOND).await;
    assert_eq!((nodes.shown(1), nodes.engine.regressions()), (newest, 0));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_mirror_cost_no_polls_beside_the_schedule() {
    let nodes = nodes(2);
    let mut clients = clients(&nodes, 1);
    pass(&nodes, &mut clients, SECOND).await;
    let start = Instant::now();
    while start.elapsed() < 20 * SECOND {
        let visit = nodes.attend(1, Attend::Visit);
        let (topic, view) = (visit.topic().clone(), visit.topic().view());
        if !topic.is_young(&view) {
            let number = topic.want_poll_after(&view);
            let answered = topic.wait_for(|view| view.ended >= number);
            let view = timeout(10 * SECOND, answered).await.expect("it is answered");
            assert!(view.frame.is_some());
        }
        sleep(30 * MS).await;
    }
    let polls = nodes.upstream.count_since(start);
    assert!((18..=23).contains(&polls), "{polls} polls in twenty intervals");
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_mirror_does_not_wait_for_the_schedule_of_a_new_holder() {
    let nodes = Nodes::new(2, None, |route: &mut Route| route.poll.interval = 10 * SECOND, 0);
    let mut clients = clients(&nodes, 2);
    pass(&nodes, &mut clients, 12 * SECOND).await;
    nodes.engine.give(PATH, 1);
    pass(&nodes, &mut clients, SECOND).await;
    let visit = nodes.attend(0, Attend::Visit);
    let number = visit.topic().want_poll_after(&visit.topic().view());
    let answered = visit.topic().wait_for(|view| view.ended >= number);
    timeout(2 * SECOND, answered).await.expect("the new holder has told nothing yet, and polls at once");
    drop(visit);
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_another_node_has_published_needs_no_poll() {
    let nodes = Nodes::new(2, None, |route: &mut Route| route.poll.interval = 100 * SECOND, 0);
    let mut clients = clients(&nodes, 1);
    pass(&nodes, &mut clients, SECOND).await;
    let polls = nodes.upstream.count();
    let mut hopper = clients.remove(0);
    // Both nodes have it; one after the other is asked with the version of the first.
    let mut other = Client::default();
    other.join(&nodes, 1);
    clients.push(other);
    pass(&nodes, &mut clients, SECOND).await;
    hopper.join(&nodes, 1);
    clients.push(hopper);
    pass(&nodes, &mut clients, SECOND).await;
    assert_eq!((nodes.upstream.count(), &clients[1].seen), (polls, &vec![1]));
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_on_a_mirror_is_seen_by_its_readers_with_the_holders_next_poll() {
    let nodes = Nodes::new(2, None, |route: &mut Route| route.poll.interval = 100 * SECOND, 0);
    let mut clients = clients(&nodes, 2);
    pass(&nodes, &mut clients, SECOND).await;
    let newest = nodes.upstream.change();
    nodes.topic(1).touch(Touch::Named { repeats: true });
    let topic = nodes.topic(1);
    let settled = timeout(10 * SECOND, topic.settled()).await;
    drop((settled.expect("the write is settled"), topic));
    assert_eq!(nodes.shown(1), newest);
    wind_up(&nodes, clients).await;
}

#[tokio::test(start_paused = true)]
async fn followers_of_all_nodes_hear_of_trouble_and_of_its_end() {
    let nodes = nodes(2);
    let mut clients = clients(&nodes, 2);
    pass(&nodes, &mut clients, 2 * SECOND).await;
    *nodes.upstream.is_down.lock() = true;
    let stale = |node: usize| matches!(nodes.topic(node).view().condition.state, State::Stale { .. });
    pass(&nodes, &mut clients, 30 * SECOND).await;
    assert!(stale(0) && stale(1));
    *nodes.upstream.is_down.lock() = false;
    pass(&nodes, &mut clients, 120 * SECOND).await;
    assert!(!stale(0) && !stale(1));
    wind_up(&nodes, clients).await;
}
