//! What the engine sees instead of names and content: keyed digests, and AES-256-GCM over everything else.
//!
//! A resource's key is made from its key parts too, credentials included: only a node that has a client of that class can
//! open what is said about it. What is sealed is bound to its kind, its resource and its order, so that nothing can be
//! told under another name or number.
//! Must not know: what is inside, who reads it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::poll::backplane::Order;
use crate::resource::{PathDigest, PathDigester};

/// The version of all that is written: byte 0 of each sealed message. Below `0`, so that no decimal number begins so.
pub const WIRE: u8 = 1;

/// Bytes before the ciphertext: wire version, kind, nonce, order.
pub const HEADER_BYTES: usize = 2 + NONCE_LEN + 16;

/// Bytes that sealing adds: the header, and the tag behind the ciphertext.
pub const SEAL_BYTES: usize = HEADER_BYTES + 16;

/// Where a key is used, in BLAKE3's words: the context of `derive_key`.
const NAME_CONTEXT: &str = "pollcast 2026 cluster name";
const BEAT_CONTEXT: &str = "pollcast 2026 cluster beat";
const RECORD_CONTEXT: &str = "pollcast 2026 cluster record";

/// What a sealed message is: byte 1, and a part of what the seal is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A record: content and condition of a resource.
    Record,
    /// The condition of a record: which versions it had.
    Condition,
    /// Items of a feed.
    Items,
    /// What a node says to all nodes.
    Message,
    /// What a holder's poll found that brought no content.
    Report,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Record => 1,
            Kind::Condition => 2,
            Kind::Items => 3,
            Kind::Message => 4,
            Kind::Report => 5,
        }
    }

    fn of(byte: u8) -> Option<Kind> {
        let kinds = [Kind::Record, Kind::Condition, Kind::Items, Kind::Message, Kind::Report];
        kinds.into_iter().find(|kind| kind.byte() == byte)
    }
}

/// The name of a resource, or of an upstream, in the engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name([u8; Name::BYTES]);

impl Name {
    /// Bytes of a name.
    pub const BYTES: usize = 16;

    /// What is not about one resource.
    pub const ALL: Name = Name([0; Name::BYTES]);

    /// A name that came in a message.
    pub fn from_bytes(bytes: [u8; Name::BYTES]) -> Name {
        Name(bytes)
    }

    /// As it goes into a message.
    pub fn bytes(&self) -> &[u8; Name::BYTES] {
        &self.0
    }

    /// Reads a name as keys and channels of the engine have it. Returns `None` if it is none.
    pub fn parse(text: &[u8]) -> Option<Name> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Name(bytes.try_into().ok()?))
    }

    /// A number of it, equally spread.
    pub fn number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why something that was sealed does not open. The values of the label `reason` of `cluster_undecodable_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecodable {
    /// It is of a later wire version.
    Version,
    /// It was sealed under another key, name, kind or number, or changed since.
    Seal,
    /// It opened, and what is inside is not in the form it should have.
    Form,
}

/// Makes the keys of one `cluster.secret`. Cloning is cheap enough for start-up, no more.
pub struct Secret {
    names: [u8; 32],
    records: blake3::Hasher,
    messages: Seal,
}

impl Secret {
    /// Everything that is derived from a secret.
    pub fn new(secret: &[u8]) -> Secret {
        let mut records = blake3::Hasher::new_derive_key(RECORD_CONTEXT);
        prefixed(&mut records, secret);
        let messages = Seal::new(blake3::derive_key(BEAT_CONTEXT, secret));
        Secret { names: blake3::derive_key(NAME_CONTEXT, secret), records, messages }
    }

    /// The name of what these parts say. Each part counts with its length, so that no two lists are one.
    pub fn name<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Name {
        let mut hasher = blake3::Hasher::new_keyed(&self.names);
        parts.into_iter().for_each(|part| prefixed(&mut hasher, part));
        let mut name = [0; Name::BYTES];
        hasher.finalize_xof().fill(&mut name);
        Name(name)
    }

    /// The seal of the resource of these parts.
    pub fn record<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Seal {
        let mut hasher = self.records.clone();
        parts.into_iter().for_each(|part| prefixed(&mut hasher, part));
        Seal::new(*hasher.finalize().as_bytes())
    }

    /// The seal of what is said to all nodes.
    pub fn messages(&self) -> &Seal {
        &self.messages
    }
}

impl PathDigester for Secret {
    fn digest(&self, parts: &[&[u8]]) -> PathDigest {
        self.name(parts.iter().copied()).0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn prefixed(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

/// Seals and opens under one key.
pub struct Seal {
    key: LessSafeKey,
    random: SystemRandom,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Seal {
    fn new(key: [u8; 32]) -> Seal {
        let key =
            UnboundKey::new(&AES_256_GCM, &key).expect("the key has the length that the algorithm wants");
        Seal { key: LessSafeKey::new(key), random: SystemRandom::new() }
    }

    /// Seals `plain`. Returns `None` if the system has no randomness, or the text is longer than the algorithm takes.
    pub fn seal(&self, kind: Kind, name: &Name, order: Order, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(SEAL_BYTES + plain.len());
        sealed.extend([WIRE, kind.byte()]);
        sealed.extend(nonce);
        sealed.extend(order_bytes(order));
        sealed.extend(plain);
        let about = Aad::from(about(kind, name, order));
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, about, &mut sealed[HEADER_BYTES..]).ok()?;
        sealed.extend(tag.as_ref());
        Some(sealed)
    }

    /// Opens what was sealed, in its own memory.
    ///
    /// # Errors
    /// It does not open.
    pub fn open<'a>(&self, kind: Kind, name: &Name, sealed: &'a mut [u8]) -> Result<&'a [u8], Undecodable> {
        let head = Head::read(sealed)?;
        if head.kind != Some(kind) {
            return Err(Undecodable::Seal);
        }
        let nonce = Nonce::assume_unique_for_key(head.nonce);
        let about = Aad::from(about(kind, name, head.order));
        let opened = self.key.open_in_place(nonce, about, &mut sealed[HEADER_BYTES..]);
        opened.map(|plain| &*plain).map_err(|_| Undecodable::Seal)
    }
}

/// What stands in front of a sealed text, in the clear. Nothing of it is to be trusted before the text has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Returns `None` if this version knows no such kind.
    pub kind: Option<Kind>,
    nonce: [u8; NONCE_LEN],
    /// Where its sender placed it.
    pub order: Order,
}

impl Head {
    /// Reads the header.
    ///
    /// # Errors
    /// It is of a later version, or too short.
    pub fn read(sealed: &[u8]) -> Result<Head, Undecodable> {
        if sealed.first().is_some_and(|wire| *wire != WIRE) {
            return Err(Undecodable::Version);
        }
        let head = sealed.first_chunk::<HEADER_BYTES>().ok_or(Undecodable::Form)?;
        let (front, order) = head.split_at(2 + NONCE_LEN);
        let nonce = front[2..].try_into().map_err(|_| Undecodable::Form)?;
        let order = order_of(order.try_into().map_err(|_| Undecodable::Form)?);
        Ok(Head { kind: Kind::of(front[1]), nonce, order })
    }
}

/// An order as it stands in front of what is sealed.
fn order_bytes(order: Order) -> [u8; 16] {
    ((u128::from(order.fence) << 64) | u128::from(order.sequence)).to_be_bytes()
}

fn order_of(bytes: [u8; 16]) -> Order {
    let both = u128::from_be_bytes(bytes);
    Order { fence: (both >> 64) as u64, sequence: both as u64 }
}

/// What a seal is bound to.
fn about(kind: Kind, name: &Name, order: Order) -> [u8; 2 + Name::BYTES + 16] {
    let mut about = [0; 2 + Name::BYTES + 16];
    about[..2].copy_from_slice(&[WIRE, kind.byte()]);
    about[2..2 + Name::BYTES].copy_from_slice(&name.0);
    about[2 + Name::BYTES..].copy_from_slice(&order_bytes(order));
    about
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(list: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
        list.iter().map(Vec::as_slice)
    }

    fn order() -> impl Strategy<Value = Order> {
        (any::<u64>(), any::<u64>()).prop_map(|(fence, sequence)| Order { fence, sequence })
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_with_all_it_was_sealed_with(
            secret in any::<[u8; 32]>(), key in prop::collection::vec(any::<Vec<u8>>(), 0..4),
            order in order(), plain in any::<Vec<u8>>(),
        ) {
            let secret = Secret::new(&secret);
            let name = secret.name(parts(&key));
            let mut sealed = secret.record(parts(&key)).seal(Kind::Record, &name, order, &plain).unwrap();
            prop_assert_eq!(Head::read(&sealed).unwrap().order, order);
            prop_assert_eq!(sealed.len(), SEAL_BYTES + plain.len());
            prop_assert_eq!(secret.record(parts(&key)).open(Kind::Record, &name, &mut sealed), Ok(&plain[..]));
        }

        #[test]
        fn one_flipped_bit_never_opens(order in order(), plain in any::<Vec<u8>>(), at in any::<prop::sample::Index>()) {
            let secret = Secret::new(b"0123456789abcdef0123456789abcdef");
            let name = secret.name([&b"a"[..]]);
            let mut sealed = secret.messages().seal(Kind::Message, &name, order, &plain).unwrap();
            let bit = at.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(secret.messages().open(Kind::Message, &name, &mut sealed).is_err());
        }

        #[test]
        fn other_key_parts_have_another_name_and_another_seal(
            a in prop::collection::vec("[ab]{0,2}", 0..4), b in prop::collection::vec("[ab]{0,2}", 0..4),
        ) {
            let secret = Secret::new(b"0123456789abcdef0123456789abcdef");
            let bytes = |list: &[String]| list.iter().map(|part| part.clone().into_bytes()).collect::<Vec<_>>();
            let (x, y) = (bytes(&a), bytes(&b));
            prop_assert_eq!(secret.name(parts(&x)) == secret.name(parts(&y)), a == b);
            let name = secret.name(parts(&x));
            let order = Order { fence: 1, sequence: 1 };
            let mut sealed = secret.record(parts(&x)).seal(Kind::Record, &name, order, b"text").unwrap();
            prop_assert_eq!(secret.record(parts(&y)).open(Kind::Record, &name, &mut sealed).is_ok(), a == b);
        }

        #[test]
        fn whatever_bytes_come_are_refused_without_a_panic(mut bytes in any::<Vec<u8>>()) {
            let secret = Secret::new(b"0123456789abcdef0123456789abcdef");
            let _ = Head::read(&bytes);
            prop_assert!(secret.messages().open(Kind::Message, &Name::ALL, &mut bytes).is_err());
            let _ = Name::parse(&bytes);
        }
    }

    #[test]
    fn nothing_opens_under_another_name_number_kind_or_secret() {
        let secret = Secret::new(b"0123456789abcdef0123456789abcdef");
        let other = Secret::new(b"0123456789abcdef0123456789abcdeF");
        let (name, second) = (secret.name([&b"a"[..]]), secret.name([&b"b"[..]]));
        let order = Order { fence: 7, sequence: 3 };
        let sealed = secret.messages().seal(Kind::Record, &name, order, b"text").unwrap();
        let open = |secret: &Secret, kind, name: &Name, sealed: &[u8]| {
            secret.messages().open(kind, name, &mut sealed.to_vec()).map(<[u8]>::to_vec)
        };
        assert_eq!(open(&secret, Kind::Record, &name, &sealed), Ok(b"text".to_vec()));
        assert_eq!(open(&secret, Kind::Condition, &name, &sealed), Err(Undecodable::Seal));
        assert_eq!(open(&secret, Kind::Record, &second, &sealed), Err(Undecodable::Seal));
        assert_eq!(open(&other, Kind::Record, &name, &sealed), Err(Undecodable::Seal));
        let mut later = sealed.clone();
        later[HEADER_BYTES - 1] += 1;
        assert_eq!(open(&secret, Kind::Record, &name, &later), Err(Undecodable::Seal));
        let mut new = sealed.clone();
        new[0] = WIRE + 1;
        assert_eq!(open(&secret, Kind::Record, &name, &new), Err(Undecodable::Version));
        assert_eq!(open(&secret, Kind::Record, &name, &sealed[..HEADER_BYTES - 1]), Err(Undecodable::Form));
        assert_ne!(other.name([&b"a"[..]]), name);
        assert_eq!(Name::parse(name.to_string().as_bytes()), Some(name));
        assert_eq!(format!("{secret:?}{:?}", secret.messages()), "******");
    }
}
