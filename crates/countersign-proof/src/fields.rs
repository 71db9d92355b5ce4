//! A cursor over the fields of one DER element, based on the decoder of `der`.
//!
//! It returns slices of the input and never re-encoded values, so the compared, hashed and stored
//! bytes are the received ones.

use der::{Decode, Header, Reader, SliceReader, Tag};

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[n]`, constructed: explicit, or an implicit SEQUENCE or SET.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The remaining fields. Every method consumes what it returns.
pub(crate) struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    pub(crate) fn new(content: &'a [u8]) -> der::Result<Self> {
        SliceReader::new(content).map(Self)
    }

    /// The fields of `element`, which must be one element with `tag`.
    pub(crate) fn of(element: &'a [u8], tag: u8) -> der::Result<Self> {
        let mut outer = Self::new(element)?;
        let inner = outer.open(tag)?;
        outer.end()?;
        Ok(inner)
    }

    /// The content of the next element, which must have `tag`.
    pub(crate) fn content(&mut self, tag: u8) -> der::Result<&'a [u8]> {
        let header = Header::decode(&mut self.0)?;
        header.tag.assert_eq(Tag::try_from(tag)?)?;
        self.0.read_slice(header.length)
    }

    /// The content of the next element, if it has `tag`.
    pub(crate) fn optional(&mut self, tag: u8) -> der::Result<Option<&'a [u8]>> {
        if self.next_is(tag) { self.content(tag).map(Some) } else { Ok(None) }
    }

    pub(crate) fn open(&mut self, tag: u8) -> der::Result<Self> {
        Self::new(self.content(tag)?)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    pub(crate) fn next_is(&self, tag: u8) -> bool {
        self.0.peek_byte() == Some(tag)
    }

    /// The whole next element, header included.
    pub(crate) fn element(&mut self) -> der::Result<&'a [u8]> {
        self.0.tlv_bytes()
    }

    /// The next element, decoded.
    pub(crate) fn decode<T: Decode<'a>>(&mut self) -> der::Result<T> {
        T::decode(&mut self.0)
    }

    /// The one remaining element, decoded.
    pub(crate) fn only<T: Decode<'a>>(mut self) -> der::Result<T> {
        let value = self.decode()?;
        self.end()?;
        Ok(value)
    }

    /// All remaining elements, at most `most`.
    pub(crate) fn elements(mut self, most: usize) -> der::Result<Vec<&'a [u8]>> {
        let mut elements = Vec::new();
        while !self.is_empty() {
            if elements.len() == most {
                return Err(der::ErrorKind::Overlength.into());
            }
            elements.push(self.element()?);
        }
        Ok(elements)
    }

    /// # Errors
    /// Refuses remaining fields.
    pub(crate) fn end(self) -> der::Result<()> {
        self.0.finish(())
    }
}
