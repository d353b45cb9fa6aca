//! A resource's content, and what a poll found, as bytes and back.
//!
//! The body of a public resource is compressed from 4 KiB on; that of a credential class never is, since its length would
//! tell of secrets (BREACH). Fields that a later version adds at the end are skipped.
//! Must not know: how it is sealed, where it is stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::encoding::{Reader, Writer};
use super::seal::Undecodable;
use crate::config::Order as ListOrder;
use crate::hub::{Audience, Failure, Relayed};
use crate::poll::backplane::{
    Found, Order, Report, Rhythm, SharedContent, SharedFeed, SharedItem, Trouble, TroubleKind,
};
use crate::resource::{Ignored, Snapshot, Validators, Version};
use crate::upstream::schedule::{PaceParts, Why};

/// Smaller bodies are not compressed: making a context costs more than it saves.
const COMPRESSED_BYTES_MIN: usize = 4096;
/// What does not become this much smaller is sent as it is.
const COMPRESSED_PERCENT_MAX: usize = 90;
/// Header fields of one content.
const FIELDS_MAX: usize = 1024;
/// Places of a body that do not count.
const IGNORED_MAX: usize = 1 << 20;
/// Items of one content.
const ITEMS_MAX: usize = 100_000;
/// Tags of versions that a record remembers.
pub(super) const TAGS_MAX: usize = 32;
/// The longest body of an answer that is passed on.
const RELAYED_BYTES_MAX: usize = 256 * 1024;

type Read<T> = Result<T, Undecodable>;

/// What a record says.
#[derive(Debug)]
pub(super) enum Record {
    /// The content, and the engine's clock (ms) when it was written.
    Content(Box<SharedContent>, u64),
    /// It is larger than what is shared: each node polls for itself.
    TooLarge,
}

/// How the body stands in a record: bits of its first byte.
const IS_COMPRESSED: u8 = 1;
const IS_TOO_LARGE: u8 = 2;

/// The record of a content.
pub(super) fn content(content: &SharedContent, is_private: bool, clock_ms: u64) -> Vec<u8> {
    let body = &content.snapshot.body;
    let compressed = (!is_private && body.len() >= COMPRESSED_BYTES_MIN)
        .then(|| zstd::bulk::compress(body, 1).ok())
        .flatten()
        .filter(|compressed| compressed.len() <= body.len() / 100 * COMPRESSED_PERCENT_MAX);
    let mut writer = Writer::default();
    writer.byte(if compressed.is_some() { IS_COMPRESSED } else { 0 });
    let mut fields = Writer::default();
    order(&mut fields, content.after);
    fields.number(clock_ms);
    fields.number(body.len() as u64);
    snapshot(&mut fields, &content.snapshot);
    fields.time(content.upstream_age);
    fields.number(content.settled);
    rhythm(&mut fields, &content.rhythm);
    fields.number(content.pace.failures.into());
    fields.option(content.pace.adaptive, Writer::time);
    fields.option(content.feed.as_ref(), feed);
    writer.bytes(&fields.finish());
    writer.bytes(compressed.as_deref().unwrap_or(body));
    writer.finish()
}

/// The record that stands in for a content that is too large.
pub(super) fn too_large() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.byte(IS_TOO_LARGE);
    writer.finish()
}

/// Reads a record that stands at `order`. `body_bytes_max`: the longest body that a poll of this resource may have.
///
/// # Errors
/// It is in another form.
pub(super) fn read_content(bytes: Bytes, at: Order, body_bytes_max: usize) -> Read<Record> {
    let mut reader = Reader::new(bytes);
    let form = reader.byte()?;
    if form & IS_TOO_LARGE != 0 {
        return Ok(Record::TooLarge);
    }
    let mut fields = Reader::new(reader.bytes()?);
    let body = reader.bytes()?;
    let after = read_order(&mut fields)?;
    let clock_ms = fields.number()?;
    let length = usize::try_from(fields.number()?).map_err(|_| Undecodable::Form)?;
    if length > body_bytes_max {
        return Err(Undecodable::Form);
    }
    let body = match form & IS_COMPRESSED {
        0 => body,
        _ => zstd::bulk::decompress(&body, length).map_err(|_| Undecodable::Form)?.into(),
    };
    if body.len() != length {
        return Err(Undecodable::Form);
    }
    let content = SharedContent {
        order: at,
        after,
        snapshot: Arc::new(read_snapshot(&mut fields, body)?),
        upstream_age: fields.time()?,
        age: Duration::ZERO,
        settled: fields.number()?,
        rhythm: read_rhythm(&mut fields)?,
        pace: PaceParts {
            failures: u32::try_from(fields.number()?).map_err(|_| Undecodable::Form)?,
            adaptive: fields.option(Reader::time)?,
        },
        feed: fields.option(read_feed)?,
    };
    Ok(Record::Content(Box::new(content), clock_ms))
}

/// The items of a content, for those that missed it.
pub(super) fn items(content: &SharedContent) -> Vec<u8> {
    let mut writer = Writer::default();
    order(&mut writer, content.after);
    if let Some(said) = &content.feed {
        feed(&mut writer, said);
    }
    writer.finish()
}

/// What [`items`] wrote: what was before them, and the items.
pub(super) fn read_items(bytes: Bytes) -> Read<(Order, SharedFeed)> {
    let mut reader = Reader::new(bytes);
    Ok((read_order(&mut reader)?, read_feed(&mut reader)?))
}

/// The condition of a record: which content it belongs to, and the tags of the last versions.
pub(super) fn tags<'a>(of: Order, tags: impl ExactSizeIterator<Item = &'a [u8; 6]>) -> Vec<u8> {
    let mut writer = Writer::default();
    order(&mut writer, of);
    writer.list(tags, |writer, tag| writer.fixed(tag));
    writer.finish()
}

/// What [`tags`] wrote.
pub(super) fn read_tags(bytes: Bytes) -> Read<(Order, Vec<[u8; 6]>)> {
    let mut reader = Reader::new(bytes);
    Ok((read_order(&mut reader)?, reader.list(TAGS_MAX, Reader::fixed)?))
}

/// What a poll found that brought no new content. `body_bytes_max`: the longest body of an answer that is passed on.
pub(super) fn report(report: &Report, body_bytes_max: usize) -> Vec<u8> {
    let mut writer = Writer::default();
    order(&mut writer, report.order);
    writer.number(report.settled);
    match &report.found {
        Found::Unchanged => writer.byte(0),
        Found::Failed { trouble, next_poll } => {
            writer.byte(1);
            writer.byte(index(&TroubleKind::ALL, &trouble.kind));
            writer.option(trouble.status, status);
            writer.bytes(trouble.reason.as_bytes());
            writer.time(*next_poll);
        }
        Found::Relayed { answer, gone, rest, next_poll } => {
            writer.byte(2);
            relayed(&mut writer, answer, body_bytes_max.min(RELAYED_BYTES_MAX));
            writer.option(*gone, status);
            writer.option(*rest, Writer::time);
            writer.time(*next_poll);
        }
    }
    writer.finish()
}

/// What [`report`] wrote.
pub(super) fn read_report(bytes: Bytes) -> Read<Report> {
    let mut reader = Reader::new(bytes);
    let (order, settled) = (read_order(&mut reader)?, reader.number()?);
    let found = match reader.byte()? {
        0 => Found::Unchanged,
        1 => Found::Failed {
            trouble: Trouble {
                kind: one_of(&TroubleKind::ALL, reader.byte()?)?,
                status: reader.option(read_status)?,
                reason: reader.text()?,
            },
            next_poll: reader.time()?,
        },
        2 => Found::Relayed {
            answer: Arc::new(read_relayed(&mut reader)?),
            gone: reader.option(read_status)?,
            rest: reader.option(Reader::time)?,
            next_poll: reader.time()?,
        },
        _ => return Err(Undecodable::Form),
    };
    Ok(Report { order, settled, age: Duration::ZERO, found })
}

pub(super) fn order(writer: &mut Writer, order: Order) {
    writer.number(order.fence);
    writer.number(order.sequence);
}

pub(super) fn read_order(reader: &mut Reader) -> Read<Order> {
    Ok(Order { fence: reader.number()?, sequence: reader.number()? })
}

fn status(writer: &mut Writer, status: StatusCode) {
    writer.number(status.as_u16().into());
}

fn read_status(reader: &mut Reader) -> Read<StatusCode> {
    let status = u16::try_from(reader.number()?).ok().and_then(|status| StatusCode::from_u16(status).ok());
    status.ok_or(Undecodable::Form)
}

fn value(writer: &mut Writer, value: &HeaderValue) {
    writer.bytes(value.as_bytes());
}

fn read_value(reader: &mut Reader) -> Read<HeaderValue> {
    HeaderValue::from_bytes(&reader.bytes()?).map_err(|_| Undecodable::Form)
}

fn name(writer: &mut Writer, name: &HeaderName) {
    writer.bytes(name.as_str().as_bytes());
}

fn read_name(reader: &mut Reader) -> Read<HeaderName> {
    HeaderName::from_bytes(&reader.bytes()?).map_err(|_| Undecodable::Form)
}

fn headers(writer: &mut Writer, headers: &HeaderMap) {
    writer.list(headers.iter().collect::<Vec<_>>().into_iter(), |writer, (field, said)| {
        name(writer, field);
        value(writer, said);
    });
}

fn read_headers(reader: &mut Reader) -> Read<HeaderMap> {
    let fields = reader.list(FIELDS_MAX, |reader| Ok((read_name(reader)?, read_value(reader)?)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.try_append(name, value).map_err(|_| Undecodable::Form)?;
    }
    Ok(headers)
}

fn snapshot(writer: &mut Writer, snapshot: &Snapshot) {
    writer.bytes(snapshot.version.to_string().as_bytes());
    status(writer, snapshot.status);
    writer.option(snapshot.content_type.as_ref(), value);
    headers(writer, &snapshot.headers);
    writer.option(snapshot.validators.etag.as_ref(), value);
    writer.option(snapshot.validators.last_modified.as_ref(), value);
    writer.list(snapshot.vary.iter(), name);
    writer.list(snapshot.ignored().starts.iter(), |writer, start| writer.number((*start).into()));
    writer.flag(snapshot.ignored().by_name);
}

fn read_snapshot(reader: &mut Reader, body: Bytes) -> Read<Snapshot> {
    let version = Version::parse(&reader.text()?).ok_or(Undecodable::Form)?;
    let status = read_status(reader)?;
    let content_type = reader.option(read_value)?;
    let headers = read_headers(reader)?;
    let validators =
        Validators { etag: reader.option(read_value)?, last_modified: reader.option(read_value)? };
    let vary = reader.list(FIELDS_MAX, read_name)?;
    let starts = reader
        .list(IGNORED_MAX, |reader| u32::try_from(reader.number()?).map_err(|_| Undecodable::Form))?
        .into();
    let ignored = Ignored { starts, by_name: reader.flag()? };
    Ok(Snapshot::new(version, status, content_type, headers, validators, vary, body).ignoring(ignored))
}

/// The reasons for an interval, in an order that never changes.
const WHYS: [Why; 8] = [
    Why::Interval,
    Why::Adaptive,
    Why::Lifetime,
    Why::RetryAfter,
    Why::RateLimit,
    Why::Budget,
    Why::Backoff,
    Why::Gone,
];
const LIST_ORDERS: [ListOrder; 3] = [ListOrder::NewestFirst, ListOrder::OldestFirst, ListOrder::Unordered];
const AUDIENCES: [Audience; 4] = [Audience::Nobody, Audience::All, Audience::Push, Audience::Cause];

fn index<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|other| other == one).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn one_of<T: Copy>(all: &[T], index: u8) -> Read<T> {
    all.get(usize::from(index)).copied().ok_or(Undecodable::Form)
}

fn rhythm(writer: &mut Writer, rhythm: &Rhythm) {
    writer.time(rhythm.interval);
    writer.time(rhythm.next_poll);
    writer.byte(index(&WHYS, &rhythm.why));
}

fn read_rhythm(reader: &mut Reader) -> Read<Rhythm> {
    Ok(Rhythm { interval: reader.time()?, next_poll: reader.time()?, why: one_of(&WHYS, reader.byte()?)? })
}

fn feed(writer: &mut Writer, feed: &SharedFeed) {
    writer.flag(feed.gap);
    writer.option(feed.list_order.as_ref(), |writer, order| writer.byte(index(&LIST_ORDERS, order)));
    writer.option(feed.cursor.as_ref(), |writer, cursor| writer.bytes(cursor.as_bytes()));
    writer.list(feed.items.iter(), |writer, item| {
        writer.bytes(item.name.as_bytes());
        writer.bytes(&item.text);
    });
}

fn read_feed(reader: &mut Reader) -> Read<SharedFeed> {
    Ok(SharedFeed {
        gap: reader.flag()?,
        list_order: reader.option(|reader| one_of(&LIST_ORDERS, reader.byte()?))?,
        cursor: reader.option(Reader::text)?,
        items: reader
            .list(ITEMS_MAX, |reader| Ok(SharedItem { name: reader.text()?, text: reader.bytes()? }))?,
    })
}

/// An answer whose body is too long for a message is told without it: then no client is given it.
fn relayed(writer: &mut Writer, answer: &Relayed, body_bytes_max: usize) {
    let is_whole = answer.body.len() <= body_bytes_max;
    status(writer, answer.status);
    writer.option(answer.phrase.as_deref(), |writer, phrase| writer.bytes(phrase.as_bytes()));
    headers(writer, &answer.headers);
    writer.bytes(if is_whole { &answer.body } else { b"" });
    writer.list(answer.vary.iter(), name);
    writer.list(answer.said.iter(), |writer, (field, said)| {
        name(writer, field);
        writer.option(said.as_ref(), value);
    });
    writer.byte(index(&AUDIENCES, if is_whole { &answer.audience } else { &Audience::Nobody }));
    writer.option(answer.failure.as_ref(), |writer, failure| {
        writer.byte(index(&TroubleKind::ALL, &TroubleKind::of(failure.class)));
        writer.option(failure.status, status);
        writer.bytes(failure.reason.as_bytes());
    });
}

fn read_relayed(reader: &mut Reader) -> Read<Relayed> {
    Ok(Relayed {
        status: read_status(reader)?,
        phrase: reader.option(Reader::text)?.map(String::into_boxed_str),
        headers: read_headers(reader)?,
        body: reader.bytes()?,
        vary: reader.list(FIELDS_MAX, read_name)?,
        said: reader.list(FIELDS_MAX, |reader| Ok((read_name(reader)?, reader.option(read_value)?)))?,
        audience: one_of(&AUDIENCES, reader.byte()?)?,
        failure: reader.option(|reader| {
            Ok(Failure {
                class: one_of(&TroubleKind::ALL, reader.byte()?)?.class(),
                status: reader.option(read_status)?,
                reason: reader.text()?,
            })
        })?,
        not_before: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resource::VersionNamer;

    fn feed() -> impl Strategy<Value = SharedFeed> {
        let item =
            ("[a-z]{0,9}", any::<Vec<u8>>()).prop_map(|(name, text)| SharedItem { name, text: text.into() });
        let parts =
            (prop::collection::vec(item, 0..5), any::<bool>(), 0..4usize, proptest::option::of("[a-z]{0,5}"));
        parts.prop_map(|(items, gap, list_order, cursor)| SharedFeed {
            items,
            gap,
            list_order: LIST_ORDERS.get(list_order).copied(),
            cursor,
        })
    }

    prop_compose! {
        fn shared()(
            body in prop_oneof![any::<Vec<u8>>(), "(ab){2100,4000}".prop_map(String::into_bytes)],
            status in 100..600u16,
            tag in proptest::option::of("[a-z]{1,8}"),
            starts in prop::collection::vec(any::<u32>(), 0..4),
            numbers in any::<(u32, u32, u32, u64, u64)>(),
            why in 0..WHYS.len(),
            adaptive in proptest::option::of(any::<u32>()),
            feed in proptest::option::of(feed()),
        ) -> SharedContent {
            let value = |text: &str| HeaderValue::try_from(text).unwrap();
            let mut headers = HeaderMap::new();
            headers.append("x-one", value("1"));
            headers.append("x-one", value("2"));
            let validators = Validators { etag: tag.as_deref().map(value), last_modified: None };
            let vary = vec![HeaderName::from_static("accept-language")];
            let version = VersionNamer::new(None).name(status, None, &body);
            let snapshot = Snapshot::new(
                version, StatusCode::from_u16(status).unwrap(), tag.as_deref().map(value), headers, validators, vary, body.into(),
            );
            let (interval, next_poll, upstream_age, settled, sequence) = numbers;
            let time = |ms: u32| Duration::from_millis(ms.into());
            SharedContent {
                order: Order { fence: 7, sequence: 3 },
                after: Order { fence: 6, sequence },
                snapshot: Arc::new(snapshot.ignoring(Ignored { starts: starts.into(), by_name: true })),
                feed,
                upstream_age: time(upstream_age),
                age: Duration::ZERO,
                settled,
                rhythm: Rhythm { interval: time(interval), next_poll: time(next_poll), why: WHYS[why] },
                pace: PaceParts { failures: interval, adaptive: adaptive.map(time) },
            }
        }
    }

    /// All of it as text, except for what is found again from the body.
    fn shown(content: &SharedContent) -> String {
        let SharedContent { order, after, snapshot, feed, upstream_age, age, settled, rhythm, pace } =
            content;
        let fields = (&snapshot.version, snapshot.status, &snapshot.content_type, &snapshot.headers);
        let more = (&snapshot.validators, &snapshot.vary, &snapshot.body, snapshot.ignored());
        format!("{:?}", ((order, after, fields, more, feed), (upstream_age, age, settled, rhythm, pace)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_content_is_read_as_it_was_written(said in shared(), is_private in any::<bool>(), more in any::<Vec<u8>>()) {
            let mut bytes = content(&said, is_private, 42);
            prop_assert!(!is_private || bytes[0] & IS_COMPRESSED == 0, "what is private is never compressed");
            // What a later version adds is skipped.
            bytes.extend(more);
            let Ok(Record::Content(read, clock)) = read_content(bytes.into(), said.order, 1 << 20) else {
                return Err(TestCaseError::fail("it is not read"));
            };
            prop_assert_eq!(shown(&read), shown(&said));
            prop_assert_eq!(clock, 42);
            if let Some(feed) = &said.feed {
                let (after, read) = read_items(items(&said).into()).unwrap();
                prop_assert_eq!((after, read.items), (said.after, feed.items.clone()));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            let bytes = Bytes::from(bytes);
            let _ = read_content(bytes.clone(), Order::default(), 1 << 16);
            let _ = (read_items(bytes.clone()), read_tags(bytes.clone()), read_report(bytes));
        }
    }

    #[test]
    fn a_body_longer_than_a_poll_may_bring_is_not_unpacked() {
        let body = vec![b'a'; 100_000];
        let version = VersionNamer::new(None).name(200, None, &body);
        let snapshot = Snapshot::new(
            version,
            StatusCode::OK,
            None,
            HeaderMap::new(),
            Validators::default(),
            Vec::new(),
            body.into(),
        );
        let said = SharedContent {
            order: Order::default(),
            after: Order::default(),
            snapshot: Arc::new(snapshot),
            feed: None,
            upstream_age: Duration::ZERO,
            age: Duration::ZERO,
            settled: 0,
            rhythm: Rhythm { interval: Duration::ZERO, next_poll: Duration::ZERO, why: Why::Interval },
            pace: PaceParts::default(),
        };
        let bytes = Bytes::from(content(&said, false, 0));
        assert!(bytes.len() < 1000, "{}", bytes.len());
        assert!(read_content(bytes.clone(), Order::default(), 100_000).is_ok());
        assert_eq!(read_content(bytes, Order::default(), 99_999).err(), Some(Undecodable::Form));
    }

    #[test]
    fn reports_are_read_as_they_were_told() {
        let trouble =
            Trouble { kind: TroubleKind::Quota, status: Some(StatusCode::BAD_GATEWAY), reason: "no".into() };
        let answer = |length: usize| Relayed {
            status: StatusCode::FORBIDDEN,
            phrase: Some("Go Away".into()),
            headers: HeaderMap::new(),
            body: vec![b'a'; length].into(),
            vary: vec![http::header::ACCEPT],
            said: vec![(http::header::ACCEPT, None)],
            audience: Audience::All,
            failure: Some(Failure { class: "holder", status: None, reason: "no".into() }),
            not_before: None,
        };
        let second = Duration::from_secs(1);
        let relayed = |length| Found::Relayed {
            answer: Arc::new(answer(length)),
            gone: Some(StatusCode::GONE),
            rest: Some(second),
            next_poll: second,
        };
        for found in [Found::Unchanged, Found::Failed { trouble, next_poll: second }, relayed(10)] {
            let said =
                Report { order: Order { fence: 1, sequence: 2 }, settled: 3, age: Duration::ZERO, found };
            let read = read_report(report(&said, RELAYED_BYTES_MAX).into()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{said:?}"));
        }
        for (length, most) in [(RELAYED_BYTES_MAX + 1, usize::MAX), (101, 100)] {
            let (order, found) = (Order::default(), relayed(length));
            let said = Report { order, settled: 0, age: Duration::ZERO, found };
            let Found::Relayed { answer, .. } = read_report(report(&said, most).into()).unwrap().found else {
                panic!()
            };
            assert_eq!(
                (answer.body.len(), answer.audience),
                (0, Audience::Nobody),
                "no client is given a part of it"
            );
        }
    }
}
