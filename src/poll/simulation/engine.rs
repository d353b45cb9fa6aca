//! An engine in memory: what a backplane promises to poll loops, and nothing of how one keeps it.
//!
//! Its messages take time and keep their order for each node. Nodes are cut off from it, die, and come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::sleep;

use crate::config::Route;
use crate::poll::backplane::{
    Backplane, Inbox, LookUp, Membership, Order, Release, Report, Role, SharedContent, Stored, Want, Written,
};
use crate::resource::ResourceKey;

/// One way between a node and the engine.
pub(super) const TRIP: Duration = Duration::from_millis(1);

/// Without a sign for so long a node's resources go to others.
pub(super) const LEASE: Duration = Duration::from_secs(1);

/// Messages that are on their way to a node; more are lost.
const WAY_MAX: usize = 10_000;

type Message = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Stock {
    holder: Option<usize>,
    fence: u64,
    /// All that was accepted.
    contents: Vec<SharedContent>,
    wants: u64,
    attending: Vec<(usize, u64, Arc<Inbox>)>,
}

struct State {
    stocks: HashMap<String, Stock>,
    is_cut: Vec<bool>,
    ways: Vec<Sender<(Duration, Message)>>,
    /// The longest delay of a message to a node.
    delay: Duration,
    rng: fastrand::Rng,
    next: u64,
    regressions: usize,
}

/// The engine.
#[derive(Clone)]
pub(super) struct Engine(Arc<Mutex<State>>);

/// A node's connection to it.
pub(super) struct Plane {
    engine: Engine,
    node: usize,
}

struct Part {
    engine: Engine,
    node: usize,
    path: String,
    id: u64,
    inbox: Arc<Inbox>,
}

impl Engine {
    pub(super) fn new(nodes: usize, delay: Duration, seed: u64) -> Engine {
        let ways = (0..nodes).map(|_| {
            let (way, mut messages) = channel::<(Duration, Message)>(WAY_MAX);
            tokio::spawn(async move {
                while let Some((delay, message)) = messages.recv().await {
                    sleep(delay).await;
                    message();
                }
            });
            way
        });
        Engine(Arc::new(Mutex::new(State {
            stocks: HashMap::new(),
            is_cut: vec![false; nodes],
            ways: ways.collect(),
            delay,
            rng: fastrand::Rng::with_seed(seed),
            next: 0,
            regressions: 0,
        })))
    }

    pub(super) fn plane(&self, node: usize) -> Arc<dyn Backplane> {
        Arc::new(Plane { engine: self.clone(), node })
    }

    /// The node that holds a resource.
    pub(super) fn holder(&self, path: &str) -> Option<usize> {
        self.0.lock().stocks.get(path)?.holder
    }

    /// Forgets all but the oldest contents, as a failover does that lost the newest ones.
    pub(super) fn lose_contents(&self, path: &str, kept: usize) {
        if let Some(stock) = self.0.lock().stocks.get_mut(path) {
            stock.contents.truncate(kept);
        }
    }

    pub(super) fn regressions(&self) -> usize {
        self.0.lock().regressions
    }

    /// Gives a resource to another node behind its holder's back, as after a stall.
    pub(super) fn give(&self, path: &str, node: usize) {
        self.0.lock().claim(path, node);
    }

    /// Cuts a node off: it polls for itself, and after a lease another node takes over.
    pub(super) fn cut(&self, node: usize) {
        let mut state = self.0.lock();
        state.is_cut[node] = true;
        let inboxes = state.inboxes(node);
        inboxes.iter().for_each(|(_, inbox)| inbox.tell_role(Role::Alone));
        drop(state);
        let engine = self.clone();
        tokio::spawn(async move {
            sleep(LEASE).await;
            let mut state = engine.0.lock();
            if state.is_cut[node] {
                state.expire(node);
            }
        });
    }

    /// The node reaches the engine again.
    pub(super) fn mend(&self, node: usize) {
        let mut state = self.0.lock();
        state.is_cut[node] = false;
        for (path, _) in state.inboxes(node) {
            state.join(&path, node);
        }
    }
}

impl State {
    fn inboxes(&self, node: usize) -> Vec<(String, Arc<Inbox>)> {
        let of = |(path, stock): (&String, &Stock)| {
            let own = stock.attending.iter().filter(|(other, ..)| *other == node);
            own.map(|(.., inbox)| (path.clone(), inbox.clone())).collect::<Vec<_>>()
        };
        self.stocks.iter().flat_map(of).collect()
    }

    fn send(&mut self, node: usize, message: impl FnOnce() + Send + 'static) {
        if self.is_cut[node] {
            return;
        }
        let delay = TRIP + self.delay.mul_f64(self.rng.f64());
        // A runtime that ends has no receiver any more.
        let _ = self.ways[node].try_send((delay, Box::new(message)));
    }

    /// Tells a node what is stored, and what it is from now on.
    fn join(&mut self, path: &str, node: usize) {
        let stock = self.stocks.entry(path.to_owned()).or_default();
        if stock.holder.is_none() || stock.holder == Some(node) {
            self.claim(path, node);
            return;
        }
        let content = stock.since(Order::default());
        let inbox = stock.inbox(node);
        self.send(node, move || {
            content
                .into_iter()
                .for_each(|content| inbox.iter().for_each(|i| i.tell_content(content.clone())));
            inbox.iter().for_each(|inbox| inbox.tell_role(Role::Mirror));
        });
    }

    fn claim(&mut self, path: &str, node: usize) {
        let stock = self.stocks.entry(path.to_owned()).or_default();
        let before = stock.holder.replace(node);
        stock.fence += 1;
        let (fence, wants, content) = (stock.fence, stock.wants, stock.since(Order::default()));
        let inbox = stock.inbox(node);
        let other =
            before.filter(|before| *before != node).and_then(|before| Some((before, stock.inbox(before)?)));
        self.send(node, move || {
            let Some(inbox) = inbox else { return };
            content.into_iter().for_each(|content| inbox.tell_content(content));
            inbox.tell_want(wants, Want::Poll);
            inbox.tell_role(Role::Holder { fence });
        });
        if let Some((before, inbox)) = other {
            self.send(before, move || inbox.tell_role(Role::Mirror));
        }
    }

    /// A node's resources go to others.
    fn expire(&mut self, node: usize) {
        let held: Vec<String> = self
            .stocks
            .iter()
            .filter(|(_, s)| s.holder == Some(node))
            .map(|(path, _)| path.clone())
            .collect();
        for path in held {
            self.free(&path, node);
        }
    }

    fn free(&mut self, path: &str, node: usize) {
        let Some(stock) = self.stocks.get_mut(path) else { return };
        if stock.holder != Some(node) {
            return;
        }
        stock.holder = None;
        let others = stock.attending.iter().map(|(other, ..)| *other);
        let next = others.filter(|other| *other != node).find(|other| !self.is_cut[*other]);
        if let Some(next) = next {
            self.claim(path, next);
        }
    }
}

impl Stock {
    fn inbox(&self, node: usize) -> Option<Arc<Inbox>> {
        self.attending.iter().rev().find(|(other, ..)| *other == node).map(|(.., inbox)| inbox.clone())
    }

    fn order(&self) -> Order {
        self.contents.last().map_or_else(Order::default, |content| content.order)
    }

    /// The newest content with all items since a place.
    fn since(&self, have: Order) -> Option<SharedContent> {
        let mut newest = self.contents.last()?.clone();
        let items = self.contents.iter().filter(|content| content.order > have);
        let items = items.filter_map(|content| content.feed.as_ref()).flat_map(|feed| feed.items.clone());
        if let Some(feed) = &mut newest.feed {
            feed.items = items.collect();
        }
        newest.after = have;
        Some(newest)
    }
}

impl Backplane for Plane {
    fn attend(&self, key: &ResourceKey, _: &Arc<Route>, inbox: Arc<Inbox>) -> Option<Arc<dyn Membership>> {
        let path = key.target();
        let mut state = self.engine.0.lock();
        state.next += 1;
        let id = state.next;
        state.stocks.entry(path.clone()).or_default().attending.push((self.node, id, inbox.clone()));
        if state.is_cut[self.node] {
            inbox.tell_role(Role::Alone);
        } else {
            state.join(&path, self.node);
        }
        Some(Arc::new(Part { engine: self.engine.clone(), node: self.node, path, id, inbox }))
    }
}

impl Part {
    /// Goes to the engine and back around `act`. Returns `None` if the node is cut off.
    async fn visit<T>(&self, act: impl FnOnce(&mut State) -> T + Send) -> Option<T> {
        sleep(TRIP).await;
        let done = {
            let mut state = self.engine.0.lock();
            (!state.is_cut[self.node]).then(|| act(&mut state))
        };
        sleep(TRIP).await;
        let is_cut = self.engine.0.lock().is_cut[self.node];
        // It may have been carried out.
        done.filter(|_| !is_cut)
    }
}

#[async_trait]
impl Membership for Part {
    async fn write(&self, content: &SharedContent) -> Written {
        let written = self.visit(|state| {
            let stock = state.stocks.get_mut(&self.path).expect("it attends");
            let is_own =
                stock.fence == content.order.fence && stock.holder.is_none_or(|held| held == self.node);
            if !is_own || content.order <= stock.order() {
                return Written::Refused;
            }
            assert!(stock.contents.iter().all(|known| known.order != content.order), "one order twice");
            stock.contents.push(content.clone());
            for (node, _, inbox) in stock.attending.clone() {
                if node != self.node {
                    let content = content.clone();
                    state.send(node, move || inbox.tell_content(content));
                }
            }
            Written::Accepted
        });
        match written.await {
            Some(Written::Refused) => {
                if self.inbox.role() != Role::Alone {
                    self.inbox.tell_role(Role::Mirror);
                }
                Written::Refused
            }
            Some(written) => written,
            None => Written::Lost,
        }
    }

    fn report(&self, fence: u64, report: Report) {
        let mut state = self.engine.0.lock();
        let Some(stock) = state.stocks.get(&self.path) else { return };
        if state.is_cut[self.node] || stock.fence != fence {
            return;
        }
        for (node, _, inbox) in stock.attending.clone() {
            if node != self.node {
                let report = report.clone();
                state.send(node, move || inbox.tell_report(report));
            }
        }
    }

    async fn want(&self, want: Want) -> Option<u64> {
        self.visit(|state| {
            let stock = state.stocks.get_mut(&self.path).expect("it attends");
            stock.wants += 1;
            let number = stock.wants;
            if let Some((holder, inbox)) =
                stock.holder.and_then(|holder| Some((holder, stock.inbox(holder)?)))
            {
                state.send(holder, move || inbox.tell_want(number, want));
            }
            number
        })
        .await
    }

    async fn look_up(&self, have: Order) -> LookUp {
        let found = self.visit(|state| {
            let stock = state.stocks.get(&self.path)?;
            let order = stock.contents.last()?.order;
            let tags = stock.contents.iter().rev().take(32).map(|content| content.snapshot.version.tag());
            let content = stock.since(have).filter(|_| order != have);
            Some(Stored { order, content, tags: tags.collect() })
        });
        match found.await {
            Some(Some(stored)) => LookUp::Found(Box::new(stored)),
            Some(None) => LookUp::Nothing,
            None => LookUp::Lost,
        }
    }

    fn release(&self, fence: u64, _: Release) {
        let mut state = self.engine.0.lock();
        if !state.is_cut[self.node] && state.stocks.get(&self.path).is_some_and(|stock| stock.fence == fence)
        {
            state.free(&self.path, self.node);
        }
    }

    fn claim(&self) {
        let mut state = self.engine.0.lock();
        if !state.is_cut[self.node] {
            state.join(&self.path, self.node);
        }
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    fn note_regression(&self) {
        self.engine.0.lock().regressions += 1;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut state = self.engine.0.lock();
        if let Some(stock) = state.stocks.get_mut(&self.path) {
            stock.attending.retain(|(_, id, _)| *id != self.id);
        }
        if !state.is_cut[self.node] {
            state.free(&self.path, self.node);
        }
    }
}
