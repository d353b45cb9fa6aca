//! Items of a feed that are new together (contract §8), encoded once for each format.
//!
//! Must not know: how items are found in a body, which client has seen which.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use super::gzip::GzipEvent;
use super::item::Item;
use super::sse::SseBytes;
use super::websocket::Deflated;
use super::{Rules, envelope, sse, websocket};
use crate::resource::fitted;

/// Items that are new together, oldest first; or what a follower missed.
#[derive(Debug)]
pub struct Batch {
    items: Box<[Arc<Item>]>,
    until: u64,
    rules: Arc<Rules>,
    sse: OnceLock<SseBytes>,
    gzip: OnceLock<Option<GzipEvent>>,
    websocket: OnceLock<Bytes>,
    deflated: OnceLock<Option<Deflated>>,
    named: OnceLock<Box<[sse::Tail]>>,
    envelope: OnceLock<Box<[Bytes]>>,
}

impl Batch {
    /// `until` is the number of the newest item that is known, whether or not it is new. `rules` are those of the
    /// topic.
    pub fn new(items: Vec<Arc<Item>>, until: u64, rules: Arc<Rules>) -> Batch {
        Batch {
            items: items.into(),
            until,
            rules,
            sse: OnceLock::new(),
            gzip: OnceLock::new(),
            websocket: OnceLock::new(),
            deflated: OnceLock::new(),
            named: OnceLock::new(),
            envelope: OnceLock::new(),
        }
    }

    /// Returns the number of the newest item that was known when the batch was made.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Returns the new items, oldest first.
    pub fn items(&self) -> &[Arc<Item>] {
        &self.items
    }

    /// Returns whether no item is new: the batch then only says how far a follower is.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items as events, in one piece.
    pub fn sse(&self) -> &SseBytes {
        let name = self.rules.event_name.as_deref().unwrap_or(ITEM);
        self.sse.get_or_init(|| sse::items(&self.items, name))
    }

    /// Makes the compressed form. `before` has the items before these.
    pub(super) fn encode_gzip(&self, before: Option<&Batch>, rules: &Rules) {
        let before = before.and_then(|batch| batch.gzip().zip(Some(batch.sse())));
        self.gzip.get_or_init(|| rules.compressed(GzipEvent::new(self.sse(), before), GzipEvent::weight));
    }

    /// The items as events, compressed, if that form was made.
    pub fn gzip(&self) -> Option<&GzipEvent> {
        self.gzip.get()?.as_ref()
    }

    /// Makes the compressed messages.
    pub(super) fn encode_deflated(&self, rules: &Rules) {
        self.websocket();
        let items = self.items.iter().map(|item| &item.text[..]);
        let made = || Deflated::of_items(items, rules.compress_min);
        self.deflated.get_or_init(|| rules.compressed(made(), Deflated::weight));
    }

    /// One message for each item, compressed, if that form was made.
    pub fn deflated(&self) -> Option<&Deflated> {
        self.deflated.get()?.as_ref()
    }

    /// One message for each item, in one piece.
    pub fn websocket(&self) -> Bytes {
        let messages = || {
            let mut all = BytesMut::new();
            for item in &self.items {
                all.put_slice(&websocket::text(&String::from_utf8_lossy(&item.text)));
            }
            fitted(all)
        };
        self.websocket.get_or_init(messages).clone()
    }

    /// For streams of many resources: what follows the line with the resource's name, one piece an
    /// item.
    pub fn named(&self) -> &[sse::Tail] {
        self.named.get_or_init(|| self.items.iter().map(|item| sse::data(&item.text)).collect())
    }

    /// For envelopes: the shared part of a message, one an item.
    pub fn envelope(&self) -> &[Bytes] {
        self.envelope
            .get_or_init(|| self.items.iter().map(|item| envelope::item(&item.id, &item.text)).collect())
    }

    /// Bytes of the forms that were made.
    pub(super) fn forms_weight(&self) -> usize {
        let named = self.named.get().map_or(0, |tails| tails.iter().map(sse::Tail::weight).sum());
        let envelope = self.envelope.get().map_or(0, |tails| tails.iter().map(Bytes::len).sum());
        self.sse.get().map_or(0, |event| event.chunk().len())
            + self.gzip().map_or(0, GzipEvent::weight)
            + self.websocket.get().map_or(0, Bytes::len)
            + self.deflated().map_or(0, Deflated::weight)
            + named
            + envelope
    }

    /// All items as one JSON array (contract §4).
    pub fn array(&self) -> Bytes {
        let mut array = BytesMut::with_capacity(self.items.iter().map(|item| item.text.len() + 1).sum());
        array.put_u8(b'[');
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                array.put_u8(b',');
            }
            array.put_slice(&item.text);
        }
        array.put_u8(b']');
        array.freeze()
    }
}

/// The event that an item is, where the route gives it no other name (`event_name`).
pub const ITEM: &str = "item";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_event_an_item_and_one_array() {
        let item =
            |seq, name: &str| Arc::new(Item::new(seq, name, Bytes::from(format!("{{\"id\":\"{name}\"}}"))));
        let rules = Arc::new(Rules::default());
        let batch = Batch::new(vec![item(1, "a"), item(2, "b")], 2, rules.clone());
        let text = String::from_utf8(batch.sse().payload().to_vec()).unwrap();
        assert_eq!(
            text,
            "event: item\nid: a\ndata: {\"id\":\"a\"}\n\nevent: item\nid: b\ndata: {\"id\":\"b\"}\n\n"
        );
        assert_eq!(batch.array(), r#"[{"id":"a"},{"id":"b"}]"#);
        assert_eq!(batch.envelope().len(), 2);
        assert_eq!(Batch::new(Vec::new(), 0, rules).array(), "[]");
        let rules = Arc::new(Rules { event_name: Some("message".into()), ..Rules::default() });
        let text = Batch::new(vec![item(1, "a")], 1, rules).sse().payload();
        assert_eq!(text, "event: message\nid: a\ndata: {\"id\":\"a\"}\n\n");
    }
}
