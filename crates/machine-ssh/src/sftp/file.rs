//! Reading and writing one file with many requests under way.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::packet::{self, Attributes, Request};
use super::{Failure, Reply, Sftp, cut_short};

/// What every server takes and gives in one request.
const BLOCK: usize = 32 * 1024;
/// Requests under way for one file: 2 MiB, which is also the window of a channel.
const UNDER_WAY: usize = 64;

/// A file being read from front to end.
pub(crate) struct RemoteReader {
    sftp: Sftp,
    handle: Bytes,
    /// Where the next request starts.
    next: u64,
    /// Up to here blocks are asked for ahead; beyond it one at a time, until the server says that the file ends.
    size: u64,
    asked: VecDeque<(u64, usize, oneshot::Receiver<Reply>)>,
}

impl RemoteReader {
    /// `size` is what `stat` said; the file may have another by now.
    pub(crate) async fn open(sftp: &Sftp, path: &[u8], size: u64) -> Result<Self, Failure> {
        let request = Request::new(packet::OPEN)
            .bytes(path)
            .number(packet::FOR_READING)
            .attributes(&Attributes::default());
        let handle = sftp.ask(request, packet::HANDLE).await?.bytes().ok_or_else(cut_short)?;
        Ok(Self { sftp: sftp.clone(), handle, next: 0, size, asked: VecDeque::new() })
    }

    /// The next piece; `None` at the end of the file.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.asked.is_empty() || (self.asked.len() < UNDER_WAY && self.next < self.size) {
            let request = self.request(self.next, BLOCK).await?;
            self.asked.push_back((self.next, BLOCK, request));
            self.next += BLOCK as u64;
        }
        let Some((offset, length, reply)) = self.asked.pop_front() else { return Ok(None) };
        match self.sftp.receive(reply, packet::DATA).await {
            Ok(mut body) => {
                let data = body.bytes().ok_or_else(cut_short)?;
                if data.is_empty() || data.len() > length {
                    return Err(Failure::Broken("the server sent a block of the wrong length".into()));
                }
                if data.len() < length {
                    // Less than asked for need not be the end: the rest comes first.
                    let (offset, length) = (offset + data.len() as u64, length - data.len());
                    let request = self.request(offset, length).await?;
                    self.asked.push_front((offset, length, request));
                }
                Ok(Some(data))
            }
            Err(failure) if failure.is_end() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn request(&self, offset: u64, length: usize) -> Result<oneshot::Receiver<Reply>, Failure> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.sftp.send(Request::new(packet::READ).bytes(&self.handle).offset(offset).number(length)).await
    }

    /// Closes the file without waiting for the server's answer: nothing depends on it.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        self.sftp.send(Request::new(packet::CLOSE).bytes(&self.handle)).await.map(|_| ())
    }
}

/// A file being written from front to end.
pub(crate) struct RemoteWriter {
    sftp: Sftp,
    handle: Bytes,
    offset: u64,
    asked: VecDeque<oneshot::Receiver<Reply>>,
}

impl RemoteWriter {
    /// Creates or empties the file. A new one gets `mode`, less the server's umask.
    pub(crate) async fn create(sftp: &Sftp, path: &[u8], mode: u32) -> Result<Self, Failure> {
        let flags = packet::FOR_WRITING | packet::CREATE | packet::TRUNCATE;
        let attributes = Attributes { mode: Some(mode), ..Attributes::default() };
        let request = Request::new(packet::OPEN).bytes(path).number(flags).attributes(&attributes);
        let handle = sftp.ask(request, packet::HANDLE).await?.bytes().ok_or_else(cut_short)?;
        Ok(Self { sftp: sftp.clone(), handle, offset: 0, asked: VecDeque::new() })
    }

    pub(crate) async fn write(&mut self, mut data: Bytes) -> Result<(), Failure> {
        while !data.is_empty() {
            if self.asked.len() >= UNDER_WAY {
                self.confirm_one().await?;
            }
            let block = data.split_to(data.len().min(BLOCK));
            let request = Request::new(packet::WRITE).bytes(&self.handle).offset(self.offset).bytes(&block);
            self.asked.push_back(self.sftp.send(request).await?);
            self.offset += block.len() as u64;
        }
        Ok(())
    }

    async fn confirm_one(&mut self) -> Result<(), Failure> {
        match self.asked.pop_front() {
            Some(reply) => self.sftp.receive(reply, packet::STATUS).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Waits until the server has written everything, and closes the file.
    pub(crate) async fn finish(mut self) -> Result<(), Failure> {
        let closing = self.sftp.send(Request::new(packet::CLOSE).bytes(&self.handle)).await?;
        while !self.asked.is_empty() {
            self.confirm_one().await?;
        }
        self.sftp.receive(closing, packet::STATUS).await.map(|_| ())
    }
}
