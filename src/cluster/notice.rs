//! What a node tells the others of a write, as bytes and back.
//!
//! A cause or a place that this version does not know is left out: the write still touches the rest. Must not know: what a
//! node does about it.

use std::net::{IpAddr, Ipv6Addr};

use super::encoding::{Reader, Writer};
use super::seal::Undecodable;
use crate::metrics::TouchCause;
use crate::poll::backplane::{Nearness, PLACES_MAX, Place, Reached, WriteNotice};
use crate::resource::PathDigest;

/// Classes of one writer.
const CLASSES_MAX: usize = 1000;
/// Longest pattern of `refreshes` with a path's parameters in it.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

type Read<T> = Result<T, Undecodable>;

/// Writes a notice.
pub(super) fn write(writer: &mut Writer, notice: &WriteNotice) {
    writer.option(notice.host.as_ref(), |writer, host| writer.fixed(host));
    writer.list(notice.reached.iter(), |writer, reached| {
        let nearness = index(&Nearness::ALL, &reached.nearness);
        writer.byte(nearness);
        writer.byte(index(&TouchCause::ALL, &reached.cause));
        let (kind, bytes) = match &reached.place {
            Place::Path(digest) => (0, &digest[..]),
            Place::Below(digest) => (1, &digest[..]),
            Place::Matching(pattern) => (2, pattern.as_bytes()),
        };
        writer.byte(kind);
        writer.bytes(bytes);
    });
    writer.option(notice.classes.as_ref(), |writer, classes| {
        writer.list(classes.iter(), |writer, class| writer.fixed(class));
    });
    writer.option(notice.address, |writer, address| writer.fixed(&mapped(address).octets()));
    writer.flag(notice.redirects);
    writer.flag(notice.repeats);
}

/// Reads what [`write()`] wrote.
pub(super) fn read(reader: &mut Reader) -> Read<WriteNotice> {
    let host = reader.option(Reader::fixed)?;
    let reached = reader.list(PLACES_MAX, read_reached)?.into_iter().flatten().collect();
    let classes = reader.option(|reader| reader.list(CLASSES_MAX, Reader::fixed))?;
    let address = reader.option(|reader| Ok(Ipv6Addr::from(reader.fixed::<16>()?)))?;
    Ok(WriteNotice {
        host,
        reached,
        classes,
        address: address.map(|address| IpAddr::V6(address).to_canonical()),
        redirects: reader.flag()?,
        repeats: reader.flag()?,
    })
}

/// One place. Returns `None` if a later version wrote it.
fn read_reached(reader: &mut Reader) -> Read<Option<Reached<PathDigest>>> {
    let nearness = Nearness::ALL.get(usize::from(reader.byte()?)).copied();
    let cause = TouchCause::ALL.get(usize::from(reader.byte()?)).copied();
    let (kind, bytes) = (reader.byte()?, reader.bytes()?);
    let digest = || PathDigest::try_from(&bytes[..]).map_err(|_| Undecodable::Form);
    let place = match kind {
        0 => Place::Path(digest()?),
        1 => Place::Below(digest()?),
        2 if bytes.len() <= PATTERN_BYTES_MAX => {
            Place::Matching(String::from_utf8(bytes.into()).map_err(|_| Undecodable::Form)?)
        }
        2 => return Err(Undecodable::Form),
        _ => return Ok(None),
    };
    Ok(nearness.zip(cause).map(|(nearness, cause)| Reached { place, cause, nearness }))
}

fn index<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|other| other == one).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reached() -> impl Strategy<Value = Reached<PathDigest>> {
        let place = prop_oneof![
            any::<PathDigest>().prop_map(Place::Path),
            any::<PathDigest>().prop_map(Place::Below),
            "[a-z/{}]{0,20}".prop_map(Place::Matching),
        ];
        (place, 0..TouchCause::ALL.len(), 0..Nearness::ALL.len()).prop_map(|(place, cause, nearness)| {
            Reached { place, cause: TouchCause::ALL[cause], nearness: Nearness::ALL[nearness] }
        })
    }

    pub(crate) fn notice() -> impl Strategy<Value = WriteNotice> {
        let reached = prop::collection::vec(reached(), 0..5);
        let classes = proptest::option::of(prop::collection::vec(any::<PathDigest>(), 0..4));
        let address = proptest::option::of(any::<IpAddr>().prop_map(|address| address.to_canonical()));
        let rest = any::<(Option<PathDigest>, bool, bool)>();
        (reached, classes, address, rest).prop_map(
            |(reached, classes, address, (host, redirects, repeats))| WriteNotice {
                host,
                reached,
                classes,
                address,
                redirects,
                repeats,
            },
        )
    }

    #[test]
    fn a_place_of_a_later_kind_is_left_out_and_the_rest_is_read() {
        let path =
            Reached { place: Place::Path([7; 16]), cause: TouchCause::Write, nearness: Nearness::Named };
        let notice = WriteNotice {
            host: None,
            reached: vec![path.clone(), path.clone()],
            classes: None,
            address: None,
            redirects: false,
            repeats: true,
        };
        let mut writer = Writer::default();
        write(&mut writer, &notice);
        let mut bytes = writer.finish();
        // No host, two places; the first one is: nearness, cause, kind.
        assert_eq!(bytes[..5], [0, 2, 2, 0, 0]);
        bytes[4] = 9;
        let read = read(&mut Reader::new(bytes.into())).unwrap();
        assert_eq!(read, WriteNotice { reached: vec![path], ..notice });
    }
}
