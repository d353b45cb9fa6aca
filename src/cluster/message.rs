//! What nodes say to all nodes: that they live and what their polls found, what they hold, give up and want.
//!
//! Must not know: how a message is sealed and sent.

use std::time::Duration;

use bytes::Bytes;

use super::encoding::{Reader, Writer};
use super::notice;
use super::seal::{Name, Undecodable};
use crate::poll::backplane::{Order, Release, Want, WriteNotice};

/// Most resources that one message is about.
pub(super) const ENTRIES_MAX: usize = 1000;
/// Longest session, build or name of a node.
const TEXT_BYTES_MAX: usize = 256;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The session that says it.
    pub session: String,
    /// What it says.
    pub said: Said,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The node lives, and these polls found nothing new.
    Beat(Beat),
    /// It holds these resources from now on, under these fences.
    Claimed(Vec<(Name, u64)>),
    /// It gives this up.
    Free(Name, u64, Release),
    /// It wants the holder to poll.
    Want(Name, Want),
    /// It has seen a write.
    Written(WriteNotice),
    /// This version does not know it.
    Unknown,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Beat {
    /// The version of pollcast.
    pub build: String,
    /// What people call the node.
    pub node: String,
    /// It goes: others take over what it holds.
    pub is_leaving: bool,
    /// How many resources it holds.
    pub seats: u64,
    /// Polls that found nothing new.
    pub unchanged: Vec<Unchanged>,
    /// What it says of upstreams.
    pub upstreams: Vec<UpstreamSaid>,
}

/// What a node says of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UpstreamSaid {
    /// The number of its name.
    pub upstream: u64,
    /// How many of its resources the node holds.
    pub seats: u64,
    /// How many more requests it will answer to all polls together, and until when.
    pub quota: Option<(u64, Duration)>,
}

/// A poll that found nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unchanged {
    /// The number of the resource's name.
    pub resource: u64,
    /// The content that was confirmed.
    pub order: Order,
    /// The want that its poll knew of.
    pub settled: u64,
    /// How long ago the poll ended.
    pub age: Duration,
}

const WANTS: [Want; 3] = [Want::Young, Want::Confirmation, Want::Poll];
const RELEASES: [Release; 2] = [Release::Dormant, Release::CannotConnect];

impl Message {
    /// The bytes of the message.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(self.session.as_bytes());
        match &self.said {
            Said::Beat(said) => {
                writer.byte(1);
                beat(&mut writer, said);
            }
            Said::Claimed(claimed) => {
                writer.byte(2);
                writer.list(claimed.iter(), |writer, (name, fence)| {
                    writer.fixed(name.bytes());
                    writer.number(*fence);
                });
            }
            Said::Free(name, fence, why) => {
                writer.byte(3);
                writer.fixed(name.bytes());
                writer.number(*fence);
                writer.byte(u8::from(*why == Release::CannotConnect));
            }
            Said::Want(name, want) => {
                writer.byte(4);
                writer.fixed(name.bytes());
                writer.byte(WANTS.iter().position(|other| other == want).unwrap_or_default() as u8);
            }
            Said::Written(write) => {
                writer.byte(5);
                notice::write(&mut writer, write);
            }
            Said::Unknown => writer.byte(0),
        }
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// It is in another form.
    pub(super) fn read(bytes: Bytes) -> Result<Message, Undecodable> {
        let mut reader = Reader::new(bytes);
        let session = text(&mut reader)?;
        let name = |reader: &mut Reader| Ok(Name::from_bytes(reader.fixed()?));
        let said = match reader.byte()? {
            1 => Said::Beat(read_beat(&mut reader)?),
            2 => Said::Claimed(reader.list(ENTRIES_MAX, |reader| Ok((name(reader)?, reader.number()?)))?),
            3 => Said::Free(
                name(&mut reader)?,
                reader.number()?,
                *RELEASES.get(usize::from(reader.byte()?)).ok_or(Undecodable::Form)?,
            ),
            4 => {
                let name = name(&mut reader)?;
                // A want of a later kind is at least one for a poll.
                Said::Want(name, WANTS.get(usize::from(reader.byte()?)).copied().unwrap_or(Want::Poll))
            }
            5 => Said::Written(notice::read(&mut reader)?),
            _ => Said::Unknown,
        };
        Ok(Message { session, said })
    }
}

fn text(reader: &mut Reader) -> Result<String, Undecodable> {
    let text = reader.text()?;
    if text.len() > TEXT_BYTES_MAX { Err(Undecodable::Form) } else { Ok(text) }
}

fn beat(writer: &mut Writer, beat: &Beat) {
    writer.bytes(beat.build.as_bytes());
    writer.bytes(beat.node.as_bytes());
    writer.flag(beat.is_leaving);
    writer.number(beat.seats);
    let (mut fence, mut settled) = (0, 0);
    writer.list(beat.unchanged.iter(), |writer, unchanged| {
        writer.fixed(&unchanged.resource.to_le_bytes());
        // Resources that were claimed together have fences, and wants, that are near each other.
        writer.number(near(fence, unchanged.order.fence));
        writer.number(unchanged.order.sequence);
        writer.number(near(settled, unchanged.settled));
        writer.time(unchanged.age);
        (fence, settled) = (unchanged.order.fence, unchanged.settled);
    });
    writer.list(beat.upstreams.iter(), |writer, said| {
        writer.fixed(&said.upstream.to_le_bytes());
        writer.number(said.seats);
        writer.option(said.quota, |writer, (remaining, reset)| {
            writer.number(remaining);
            writer.time(reset);
        });
    });
}

fn read_beat(reader: &mut Reader) -> Result<Beat, Undecodable> {
    let (build, node) = (text(reader)?, text(reader)?);
    let (is_leaving, seats) = (reader.flag()?, reader.number()?);
    let (mut fence, mut settled) = (0, 0);
    let unchanged = reader.list(ENTRIES_MAX, |reader| {
        let resource = u64::from_le_bytes(reader.fixed()?);
        fence = far(fence, reader.number()?);
        let order = Order { fence, sequence: reader.number()? };
        settled = far(settled, reader.number()?);
        Ok(Unchanged { resource, order, settled, age: reader.time()? })
    })?;
    let upstreams = match reader.is_empty() {
        // An earlier version says nothing of them.
        true => Vec::new(),
        false => reader.list(ENTRIES_MAX, |reader| {
            let (upstream, seats) = (u64::from_le_bytes(reader.fixed()?), reader.number()?);
            let quota = reader.option(|reader| Ok((reader.number()?, reader.time()?)))?;
            Ok(UpstreamSaid { upstream, seats, quota })
        })?,
    };
    Ok(Beat { build, node, is_leaving, seats, unchanged, upstreams })
}

/// A difference as a number that is small if it is, in either direction.
fn near(before: u64, now: u64) -> u64 {
    let difference = now.wrapping_sub(before) as i64;
    ((difference << 1) ^ (difference >> 63)) as u64
}

fn far(before: u64, near: u64) -> u64 {
    let difference = (near >> 1) as i64 ^ -((near & 1) as i64);
    before.wrapping_add(difference as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unchanged() -> impl Strategy<Value = Unchanged> {
        (any::<u64>(), any::<(u64, u64)>(), any::<u64>(), any::<u32>()).prop_map(
            |(resource, (fence, sequence), settled, age)| Unchanged {
                resource,
                order: Order { fence, sequence },
                settled,
                age: Duration::from_millis(age.into()),
            },
        )
    }

    fn said() -> impl Strategy<Value = Said> {
        let name = || any::<[u8; 16]>().prop_map(Name::from_bytes);
        let upstream = any::<(u64, u64, Option<(u64, u32)>)>().prop_map(|(upstream, seats, quota)| {
            let quota = quota.map(|(left, reset)| (left, Duration::from_millis(reset.into())));
            UpstreamSaid { upstream, seats, quota }
        });
        let lists = (prop::collection::vec(unchanged(), 0..20), prop::collection::vec(upstream, 0..4));
        let beat = (lists, any::<bool>(), any::<u64>());
        prop_oneof![
            beat.prop_map(|((unchanged, upstreams), is_leaving, seats)| Said::Beat(Beat {
                build: "1.2.3".into(),
                node: "a".into(),
                is_leaving,
                seats,
                unchanged,
                upstreams,
            })),
            prop::collection::vec((name(), any::<u64>()), 0..20).prop_map(Said::Claimed),
            (name(), any::<u64>(), 0..2usize).prop_map(|(name, fence, why)| Said::Free(
                name,
                fence,
                RELEASES[why]
            )),
            (name(), 0..3usize).prop_map(|(name, want)| Said::Want(name, WANTS[want])),
            notice::tests::notice().prop_map(Said::Written),
        ]
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_said(said in said(), session in "[a-z.]{0,40}", more in any::<Vec<u8>>()) {
            let message = Message { session, said };
            let mut bytes = message.bytes();
            prop_assert_eq!(Message::read(bytes.clone().into()), Ok(message.clone()));
            // What a later version adds is skipped.
            bytes.extend(more);
            prop_assert_eq!(Message::read(bytes.into()), Ok(message));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = Message::read(bytes.into());
        }
    }

    #[test]
    fn an_unchanged_poll_takes_few_bytes_of_a_beat() {
        let at = |number: u64| Unchanged {
            resource: number << 40,
            order: Order { fence: 1_790_000_000_000_000 + number * 30, sequence: number % 500 },
            settled: 0,
            age: Duration::from_millis(number % 250),
        };
        let beat = Beat { unchanged: (0..1000).map(at).collect(), ..Beat::default() };
        let message = Message { session: "abcdef.123456".into(), said: Said::Beat(beat) };
        assert!(message.bytes().len() < 1000 * 15, "{}", message.bytes().len());
    }
}
