//! Authoritative DNS over UDP and TCP, answering from what the ARM side holds at that moment.

mod answer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::core::Core;

/// A client that says nothing for so long (real time) is dropped.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Answers datagrams until cancelled.
pub(super) async fn serve_udp(socket: UdpSocket, core: Arc<Core>, stop: CancellationToken) {
    let mut buffer = [0; 4096];
    loop {
        let received: std::io::Result<(usize, SocketAddr)> = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = stop.cancelled() => return,
        };
        // An error here is an ICMP message about an earlier answer; the socket goes on.
        let Ok((length, from)) = received else { continue };
        if let Some(reply) = answer::datagram(&core.store.world(), &buffer[..length]) {
            // The asker asks again.
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

/// Answers over TCP until cancelled.
pub(super) async fn serve_tcp(listener: TcpListener, core: Arc<Core>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        let (core, stop) = (Arc::clone(&core), stop.clone());
        tokio::spawn(async move {
            // Either side may end a connection at any time.
            tokio::select! {
                _ = converse(stream, &core) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn converse(mut stream: TcpStream, core: &Core) -> std::io::Result<()> {
    loop {
        let length = tokio::time::timeout(SILENCE_MAX, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(SILENCE_MAX, stream.read_exact(&mut query)).await??;
        let Some(reply) = answer::stream(&core.store.world(), &query) else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        stream.write_all(&framed).await?;
    }
}
