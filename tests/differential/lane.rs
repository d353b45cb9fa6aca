//! One of the two ways to the API: its clients, and what they remember of their answers.
//!
//! Must not know: the other way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::api::Api;
use super::exchange::{Answer, Client, Enough, Outcome, Request};
use super::judge::Remembered;
use super::scene::*;
use super::traits::{Framing, Trait};
use crate::support::legacy::{Legacy, Seen};

/// One of the two ways to the API.
pub struct Lane {
    pub api: Arc<Api>,
    pub legacy: Legacy,
    pub address: SocketAddr,
    pub clients: HashMap<Who, Client>,
    /// What clients were given for a URL.
    pub remembered: HashMap<String, Remembered>,
}

impl Lane {
    pub async fn ask(&mut self, who: Who, request: &Request) -> Outcome {
        let address = self.address;
        self.clients.entry(who).or_insert_with(|| Client::new(address)).ask(request).await
    }

    /// The request, with the conditions that this lane's answers allow.
    pub fn request(&self, scene: &Scene, ask: &Ask) -> Request {
        let mut fields = vec![("Host".to_owned(), "api.test".to_owned())];
        let mut add = |name: &str, value: &str| {
            // What is said last counts, except for cookies, which belong together.
            match fields.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
                Some((_, before)) if name.eq_ignore_ascii_case("cookie") => {
                    *before = format!("{before}; {value}")
                }
                Some((_, before)) => *before = value.to_owned(),
                None => fields.push((name.to_owned(), value.to_owned())),
            }
        };
        ask.agent.fields.iter().chain(&ask.more).for_each(|(name, value)| add(name, value));
        if let Some((name, value)) = scene.shown(ask) {
            add(name, &value);
        }
        let remembered = self.remembered.get(&memory_key(scene, ask));
        match ask.condition {
            Condition::None => {}
            Condition::UnknownTag => add("If-None-Match", "\"nobody-gave-this\""),
            Condition::Tag => {
                if let Some(tag) = remembered.and_then(|r| r.tag.as_deref()) {
                    add("If-None-Match", tag);
                }
            }
            Condition::Date => {
                if let Some(date) = remembered.and_then(|r| r.date.as_deref()) {
                    add("If-Modified-Since", date);
                }
            }
        }
        let is_endless = scene.place(ask).traits.contains(&Trait::Framing(Framing::Endless));
        let enough = if is_endless { Enough::Bytes(30) } else { Enough::All };
        let body =
            if matches!(ask.method, "POST" | "PUT" | "PATCH") { b"{\"new\":1}".to_vec() } else { Vec::new() };
        Request { method: ask.method, target: scene.target(ask), fields, body, enough }
    }

    pub fn remember(&mut self, key: &str, answer: &Answer) {
        if let (200, Ok(body)) = (answer.status, &answer.body) {
            let remembered = Remembered {
                tag: answer.line("etag"),
                date: answer.line("last-modified"),
                body: body.clone(),
                content_type: answer.line("content-type"),
            };
            self.remembered.insert(key.to_owned(), remembered);
        }
    }

    /// Requests that the API has seen, polls apart if they do not count.
    pub fn seen(&self, with_polls: bool) -> Vec<Seen> {
        let is_poll = |seen: &Seen| seen.header("user-agent").is_some_and(|a| a.starts_with("pollcast/"));
        let mut all = self.legacy.all_seen();
        all.retain(|seen| with_polls || !is_poll(seen));
        all
    }
}

/// Under what a client remembers an answer: a client that says something else is another one.
pub fn memory_key(scene: &Scene, ask: &Ask) -> String {
    format!("{:?} {} {} {:?} {:?}", ask.who, scene.target(ask), ask.agent.name, ask.more, scene.shown(ask))
}
