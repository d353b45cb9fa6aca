//! A record as one value of the bucket: who holds it stands in the clear, everything else was sealed before.
//!
//! Must not know: how values are stored.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::poll::backplane::Order;

/// The form of the values below.
const VERSION: u8 = 1;

/// What the engine has of a resource, wants apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Value {
    /// The session that holds it; empty if none.
    pub(super) holder: String,
    /// The fence of the holder.
    pub(super) fence: u64,
    /// Where its content stands.
    pub(super) order: Order,
    /// The sealed condition.
    pub(super) condition: Bytes,
    /// The sealed content.
    pub(super) content: Bytes,
    /// Sealed items of a feed, oldest first.
    pub(super) items: Vec<(Order, Bytes)>,
}

impl Value {
    /// The bytes of this value. Its oldest items are left out until it fits into `bytes_max`.
    pub(super) fn write(&self, bytes_max: usize) -> Bytes {
        let holder = &self.holder.as_bytes()[..self.holder.len().min(usize::from(u8::MAX))];
        let mut bytes =
            BytesMut::with_capacity(64 + holder.len() + self.condition.len() + self.content.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(holder.len() as u8);
        bytes.put_slice(holder);
        bytes.put_u64(self.fence);
        put_order(&mut bytes, self.order);
        put(&mut bytes, &self.condition);
        put(&mut bytes, &self.content);
        let mut room = bytes_max.saturating_sub(bytes.len());
        let fits = |(_, item): &&(Order, Bytes)| {
            let fits = room >= item.len() + 20;
            room = room.saturating_sub(item.len() + 20);
            fits
        };
        let kept = self.items.iter().rev().take_while(fits).count();
        for (order, item) in &self.items[self.items.len() - kept..] {
            put_order(&mut bytes, *order);
            put(&mut bytes, item);
        }
        // The newest one leaves its order behind, so that readers know that something is missing.
        if let (0, Some((order, _))) = (kept, self.items.last()) {
            put_order(&mut bytes, *order);
            put(&mut bytes, b"");
        }
        bytes.freeze()
    }

    /// Reads a value. Returns `None` if it is none.
    pub(super) fn read(mut bytes: Bytes) -> Option<Value> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let length = usize::from(bytes.try_get_u8().ok()?);
        let holder = take(&mut bytes, length)?;
        let holder = std::str::from_utf8(&holder).ok()?.to_owned();
        let fence = bytes.try_get_u64().ok()?;
        let order = get_order(&mut bytes)?;
        let (condition, content) = (get(&mut bytes)?, get(&mut bytes)?);
        let mut items = Vec::new();
        while bytes.has_remaining() {
            items.push((get_order(&mut bytes)?, get(&mut bytes)?));
        }
        Some(Value { holder, fence, order, condition, content, items })
    }
}

fn put(bytes: &mut BytesMut, part: &[u8]) {
    bytes.put_u32(
        u32::try_from(part.len()).expect("records are bounded by cluster.max_value, 64 MiB at most"),
    );
    bytes.put_slice(part);
}

fn put_order(bytes: &mut BytesMut, order: Order) {
    bytes.put_u64(order.fence);
    bytes.put_u64(order.sequence);
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn get(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_u32().ok()? as usize;
    take(bytes, length)
}

fn get_order(bytes: &mut Bytes) -> Option<Order> {
    Some(Order { fence: bytes.try_get_u64().ok()?, sequence: bytes.try_get_u64().ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from)
    }

    fn order() -> impl Strategy<Value = Order> {
        any::<(u64, u64)>().prop_map(|(fence, sequence)| Order { fence, sequence })
    }

    proptest! {
        #[test]
        fn a_value_is_read_as_it_was_written(
            (holder, fence, order) in ("[a-z.0-9]{0,40}", any::<u64>(), order()),
            (condition, content) in (bytes(), bytes()),
            items in proptest::collection::vec((order(), bytes()), 0..5),
        ) {
            let value = Value { holder, fence, order, condition, content, items };
            prop_assert_eq!(Value::read(value.write(1 << 20)), Some(value));
        }

        #[test]
        fn no_bytes_panic(mut found in proptest::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
            if version && let Some(first) = found.first_mut() {
                *first = VERSION;
            }
            let _ = Value::read(found.into());
        }
    }

    #[test]
    fn the_oldest_items_go_where_a_value_would_be_too_large() {
        let item = |sequence| (Order { fence: 1, sequence }, Bytes::from_static(&[7; 100]));
        let value = Value { items: (0..10).map(item).collect(), ..Value::default() };
        let whole = value.write(usize::MAX);
        let cut = Value::read(value.write(whole.len() - 1)).expect("a value");
        assert_eq!(cut.items, value.items[1..]);
        let none = Value::read(value.write(0)).expect("a value");
        assert_eq!(none.items, [(Order { fence: 1, sequence: 9 }, Bytes::new())]);
    }
}
