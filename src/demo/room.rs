//! The two shared things of the demo that people write to: a chat and a document.
//!
//! Owns their content and its limits. Must not know: HTTP, sockets, the clock.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::auction::UnixMs;

/// How many chat messages a poll shows.
pub const CHAT_MESSAGES_MAX: usize = 20;
/// Longest chat message, characters.
pub const MESSAGE_CHARS: usize = 500;
/// Longest name in the chat, characters.
pub const NAME_CHARS: usize = 40;

const WELCOME: [(&str, &str); 3] = [
    ("Ines", "The catalogue for tonight is up. Lot 1 is the orrery."),
    ("Tomasz", "Is anyone in the room, or only on the phone?"),
    ("Ines", "Write something: it reaches every open page, and the API behind it is still only polled."),
];

const OPENING_TEXT: &str = "Condition report, lot 1

The drive runs for about forty minutes on one winding.
Two planet arms were replaced before 1920; the brass is otherwise original.
The glass dome has a hairline crack at the base.

Edit this text: everyone who follows the document sees it.
";

#[derive(Debug, Clone, Serialize)]
struct Message {
    id: u64,
    from: String,
    text: String,
    at_ms: UnixMs,
}

/// What a visitor posts: JSON with a name, or plain text without one.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Posting {
    /// The visitor's name; empty if there is none.
    #[serde(default)]
    pub from: String,
    /// What the visitor says.
    pub text: String,
}

impl Posting {
    /// Reads a request body; `None` when it says nothing.
    pub fn read(body: &[u8]) -> Option<Posting> {
        let posting = serde_json::from_slice(body).ok().or_else(|| {
            Some(Posting { from: String::new(), text: std::str::from_utf8(body).ok()?.to_owned() })
        })?;
        let text: String = posting.text.trim().chars().take(MESSAGE_CHARS).collect();
        let name: String = posting.from.trim().chars().take(NAME_CHARS).collect();
        let from = if name.is_empty() { "guest".to_owned() } else { name };
        (!text.is_empty()).then_some(Posting { from, text })
    }
}

/// The last [`CHAT_MESSAGES_MAX`] messages.
#[derive(Debug)]
pub struct Chat {
    messages: VecDeque<Message>,
    next_id: u64,
}

impl Chat {
    /// A chat with a few messages in it, so that the first poll shows something.
    pub fn open(now_ms: UnixMs) -> Chat {
        let mut chat = Chat { messages: VecDeque::with_capacity(CHAT_MESSAGES_MAX), next_id: 1 };
        for (from, text) in WELCOME {
            chat.add(Posting { from: from.to_owned(), text: text.to_owned() }, now_ms);
        }
        chat
    }

    /// Adds a message and returns its id.
    pub fn add(&mut self, posting: Posting, now_ms: UnixMs) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.messages.len() == CHAT_MESSAGES_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back(Message { id, from: posting.from, text: posting.text, at_ms: now_ms });
        id
    }

    /// The body of a poll.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "room": "saleroom",
            "messages": self.messages,
            "changed_at_ms": self.messages.back().map_or(0, |message| message.at_ms),
        })
    }
}

/// One text that every visitor may replace.
#[derive(Debug, Serialize)]
pub struct Document {
    title: &'static str,
    revision: u64,
    text: String,
    changed_at_ms: UnixMs,
}

impl Document {
    /// Returns the document as the demo begins with it.
    pub fn open(now_ms: UnixMs) -> Document {
        Document {
            title: "Condition report",
            revision: 1,
            text: OPENING_TEXT.to_owned(),
            changed_at_ms: now_ms,
        }
    }

    /// Replaces the text; the same text again is no new revision. Returns the revision.
    pub fn replace(&mut self, text: &str, now_ms: UnixMs) -> u64 {
        if self.text != text {
            text.clone_into(&mut self.text);
            self.revision += 1;
            self.changed_at_ms = now_ms;
        }
        self.revision
    }

    /// The body of a poll.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chat_keeps_the_last_twenty_messages() {
        let mut chat = Chat::open(1);
        for number in 0..30 {
            chat.add(Posting { from: "a".into(), text: format!("message {number}") }, 2);
        }
        let body = chat.json();
        let messages = body["messages"].as_array().expect("a list");
        assert_eq!(messages.len(), CHAT_MESSAGES_MAX);
        assert_eq!(messages[CHAT_MESSAGES_MAX - 1]["text"], "message 29");
    }

    #[test]
    fn a_posting_is_json_or_plain_text_and_has_limits() {
        let named = Posting::read(br#"{"from":"Ada","text":" hello "}"#).expect("json");
        assert_eq!((named.from.as_str(), named.text.as_str()), ("Ada", "hello"));
        assert_eq!(Posting::read(b"hello").expect("text").from, "guest");
        assert_eq!(Posting::read(b"  \n"), None);
        assert_eq!(Posting::read(&[0xff, 0xfe]), None);
        let long = Posting::read("é".repeat(5_000).as_bytes()).expect("cut");
        assert_eq!(long.text.chars().count(), MESSAGE_CHARS);
    }

    #[test]
    fn the_same_text_again_is_no_new_revision() {
        let mut document = Document::open(1);
        assert_eq!(document.replace("one", 2), 2);
        assert_eq!(document.replace("one", 3), 2);
        assert_eq!(document.json()["changed_at_ms"], 2);
    }
}
