//! Plain values as bytes: numbers, texts and lists, each length in front of what it counts.
//!
//! Reading never panics and never makes room for more than there is. Must not know: what the values mean.

use std::time::Duration;

use bytes::Bytes;

use super::seal::Undecodable;

/// Puts values behind each other.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    /// A number, in as few bytes as it needs (LEB128).
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn time(&mut self, time: Duration) {
        self.number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// A value that may be missing.
    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Writer, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A list, its count in front.
    pub(super) fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Writer, T),
    ) {
        self.number(items.len() as u64);
        items.for_each(|item| write(self, item));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes values from the front.
pub(super) struct Reader(Bytes);

type Read<T> = Result<T, Undecodable>;

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Reader {
        Reader(bytes)
    }

    /// Whether there is nothing more.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Read<Bytes> {
        if count > self.0.len() {
            return Err(Undecodable::Form);
        }
        Ok(self.0.split_to(count))
    }

    pub(super) fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn flag(&mut self) -> Read<bool> {
        Ok(self.byte()? != 0)
    }

    pub(super) fn number(&mut self) -> Read<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Undecodable::Form)
    }

    pub(super) fn fixed<const COUNT: usize>(&mut self) -> Read<[u8; COUNT]> {
        self.take(COUNT)?.as_ref().try_into().map_err(|_| Undecodable::Form)
    }

    pub(super) fn bytes(&mut self) -> Read<Bytes> {
        let count = usize::try_from(self.number()?).map_err(|_| Undecodable::Form)?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Read<String> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| Undecodable::Form)
    }

    pub(super) fn time(&mut self) -> Read<Duration> {
        Ok(Duration::from_millis(self.number()?))
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Reader) -> Read<T>) -> Read<Option<T>> {
        self.flag()?.then(|| read(self)).transpose()
    }

    /// A list of at most `max`. Room is made for what there is, not for what the count says.
    pub(super) fn list<T>(
        &mut self,
        max: usize,
        mut read: impl FnMut(&mut Reader) -> Read<T>,
    ) -> Read<Vec<T>> {
        let count = usize::try_from(self.number()?).map_err(|_| Undecodable::Form)?;
        if count > max {
            return Err(Undecodable::Form);
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number in any::<u64>(), bytes in any::<Vec<u8>>(), there in any::<bool>()) {
            let mut writer = Writer::default();
            writer.number(number);
            writer.bytes(&bytes);
            writer.option(there.then_some(number), Writer::number);
            writer.list(bytes.iter(), |writer, byte| writer.byte(*byte));
            let mut reader = Reader::new(writer.finish().into());
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.bytes().unwrap(), bytes.clone());
            prop_assert_eq!(reader.option(Reader::number), Ok(there.then_some(number)));
            prop_assert_eq!(reader.list(usize::MAX, Reader::byte), Ok(bytes));
            prop_assert_eq!(reader.byte(), Err(Undecodable::Form));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            let read = || Reader::new(bytes.clone().into());
            let _ = (read().number(), read().bytes(), read().text(), read().time(), read().fixed::<16>());
            let _ = read().list(1000, |reader| reader.option(Reader::bytes));
        }
    }
}
