//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02). Paths are bytes, as they are on the host.

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(crate) const INIT: u8 = 1;
pub(crate) const VERSION: u8 = 2;
pub(crate) const OPEN: u8 = 3;
pub(crate) const CLOSE: u8 = 4;
pub(crate) const READ: u8 = 5;
pub(crate) const WRITE: u8 = 6;
pub(crate) const SETSTAT: u8 = 9;
pub(crate) const OPENDIR: u8 = 11;
pub(crate) const READDIR: u8 = 12;
pub(crate) const MKDIR: u8 = 14;
pub(crate) const STAT: u8 = 17;
pub(crate) const STATUS: u8 = 101;
pub(crate) const HANDLE: u8 = 102;
pub(crate) const DATA: u8 = 103;
pub(crate) const NAME: u8 = 104;
pub(crate) const ATTRS: u8 = 105;

/// Flags of `OPEN`.
pub(crate) const FOR_READING: u32 = 0x01;
pub(crate) const FOR_WRITING: u32 = 0x02;
pub(crate) const CREATE: u32 = 0x08;
pub(crate) const TRUNCATE: u32 = 0x10;

const ATTR_SIZE: u32 = 0x01;
const ATTR_OWNER: u32 = 0x02;
const ATTR_MODE: u32 = 0x04;
const ATTR_TIMES: u32 = 0x08;

/// What is known, or is to be set, of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) size: Option<u64>,
    /// File type and permission bits, as `st_mode`.
    pub(crate) mode: Option<u32>,
    /// Access and modification time, seconds since 1970.
    pub(crate) times: Option<(u32, u32)>,
}

/// A request without its length and number, which go in front when it is sent.
pub(crate) struct Request {
    pub(crate) kind: u8,
    body: BytesMut,
}

impl Request {
    pub(crate) fn new(kind: u8) -> Self {
        Self { kind, body: BytesMut::new() }
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.body.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.body.put_slice(bytes);
        self
    }

    pub(crate) fn number(mut self, number: u32) -> Self {
        self.body.put_u32(number);
        self
    }

    pub(crate) fn offset(mut self, offset: u64) -> Self {
        self.body.put_u64(offset);
        self
    }

    /// Of the attributes, those that may be set: mode (permission bits only) and times.
    pub(crate) fn attributes(mut self, attributes: &Attributes) -> Self {
        let mut flags = 0;
        flags |= attributes.mode.map_or(0, |_| ATTR_MODE);
        flags |= attributes.times.map_or(0, |_| ATTR_TIMES);
        self.body.put_u32(flags);
        if let Some(mode) = attributes.mode {
            self.body.put_u32(mode & 0o7777);
        }
        if let Some((accessed, modified)) = attributes.times {
            self.body.put_u32(accessed);
            self.body.put_u32(modified);
        }
        self
    }

    pub(crate) fn encode(self, id: u32) -> Bytes {
        let mut packet = BytesMut::with_capacity(self.body.len() + 9);
        packet.put_u32(u32::try_from(self.body.len() + 5).unwrap_or(u32::MAX));
        packet.put_u8(self.kind);
        packet.put_u32(id);
        packet.put_slice(&self.body);
        packet.freeze()
    }
}

/// A reply's content, read from front to end. `None` is a reply that is cut short.
pub(crate) struct Body(pub(crate) Bytes);

impl Body {
    pub(crate) fn number(&mut self) -> Option<u32> {
        (self.0.len() >= 4).then(|| self.0.get_u32())
    }

    fn long(&mut self) -> Option<u64> {
        (self.0.len() >= 8).then(|| self.0.get_u64())
    }

    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.number()?).ok()?;
        (self.0.len() >= length).then(|| self.0.split_to(length))
    }

    pub(crate) fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.number()?;
        let mut found = Attributes::default();
        if flags & ATTR_SIZE != 0 {
            found.size = Some(self.long()?);
        }
        if flags & ATTR_OWNER != 0 {
            self.long()?;
        }
        if flags & ATTR_MODE != 0 {
            found.mode = Some(self.number()?);
        }
        if flags & ATTR_TIMES != 0 {
            found.times = Some((self.number()?, self.number()?));
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed_as_the_draft_says() {
        let packet =
            Request::new(OPEN).bytes(b"a\xff").number(FOR_READING).attributes(&Attributes::default());
        assert_eq!(&packet.encode(7)[..], b"\0\0\0\x13\x03\0\0\0\x07\0\0\0\x02a\xff\0\0\0\x01\0\0\0\0");
    }

    #[test]
    fn a_reply_that_is_cut_short_is_none() {
        let mut whole = BytesMut::new();
        whole.put_u32(ATTR_SIZE | ATTR_OWNER | ATTR_MODE | ATTR_TIMES);
        whole.put_u64(5);
        whole.put_u64(0);
        whole.put_u32(0o100_644);
        whole.put_u64((1 << 32) | 2);
        let whole = whole.freeze();
        let expected = Attributes { size: Some(5), mode: Some(0o100_644), times: Some((1, 2)) };
        assert_eq!(Body(whole.clone()).attributes(), Some(expected));
        for length in 0..whole.len() {
            assert_eq!(Body(whole.slice(..length)).attributes(), None, "{length} bytes");
        }
    }
}
