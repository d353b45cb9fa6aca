//! Ways in for the fuzz targets (`tests/fuzz`). Must not know: what they check.

use bytes::Bytes;

use super::seal::{Head, Kind, Name, Secret};
use super::{message, record};
use crate::poll::backplane::Order;

/// Bytes of an engine as everything that can come from one: sealed, and as if they had opened.
pub fn decode(bytes: &Bytes) {
    let _ = Head::read(bytes);
    let _ = Name::parse(bytes);
    let secret = Secret::new(b"a secret of thirty-two bytes or more");
    let opened = secret.messages().open(Kind::Message, &Name::ALL, &mut bytes.to_vec()).is_ok();
    assert!(!opened, "nothing opens that was not sealed");
    let _ = message::Message::read(bytes.clone());
    let _ = record::read_content(bytes.clone(), Order::default(), 1 << 20);
    let _ = record::read_items(bytes.clone());
    let _ = record::read_tags(bytes.clone());
    let _ = record::read_report(bytes.clone());
    #[cfg(feature = "nats")]
    super::nats::read_value(bytes);
}
