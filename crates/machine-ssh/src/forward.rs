//! TCP connections that the host makes for us.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use russh::ChannelStream;
use russh::client::Msg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::error::{Error, Result};
use crate::session::Session;

/// A TCP connection from the host to somewhere, through the session. It keeps the session alive.
pub struct TcpChannel {
    stream: ChannelStream<Msg>,
    _session: Session,
}

impl AsyncRead for TcpChannel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpChannel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A local port whose connections come out at the host. Dropping it closes the port and the connections.
#[derive(Debug)]
pub struct Forwarding {
    local: SocketAddr,
    task: JoinHandle<()>,
}

impl Forwarding {
    /// The local address that is listened on.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Has the host connect to `host:port`, names resolved there.
    ///
    /// # Errors
    /// [`Error::ChannelRefused`] when the server forbids it or cannot connect.
    pub async fn open_tcp(&self, host: &str, port: u16) -> Result<TcpChannel> {
        let opened =
            self.inner.client.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await;
        let channel =
            opened.map_err(|e| self.channel_error(&format!("a connection to {host} port {port}"), e))?;
        Ok(TcpChannel { stream: channel.into_stream(), _session: self.clone() })
    }

    /// Hands every connection to `listener` on to `host:port` as the host sees it, until the result is dropped. A
    /// connection that the host can't make is closed at once.
    pub fn forward(&self, listener: TcpListener, host: &str, port: u16) -> Result<Forwarding> {
        let local = listener.local_addr().map_err(|e| Error::Protocol {
            address: self.target().address(),
            why: format!("local listener: {e}"),
        })?;
        let (session, host) = (self.clone(), host.to_owned());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                tracing::debug!(%peer, %host, port, "forwarding a connection");
                connections.spawn(carry(session.clone(), stream, host.clone(), port));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Forwarding { local, task })
    }
}

async fn carry(session: Session, mut local: TcpStream, host: String, port: u16) {
    let outcome = async {
        let mut remote = session.open_tcp(&host, port).await.map_err(io::Error::other)?;
        copy_bidirectional(&mut local, &mut remote).await
    };
    if let Err(error) = outcome.await {
        tracing::debug!(%host, port, %error, "forwarded connection ended");
    }
}
