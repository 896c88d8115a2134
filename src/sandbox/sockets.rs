//! The sandbox's sockets: loopback only, on ports that a restart finds free again.
//!
//! New ports are taken below the range that systems hand out to outgoing connections, so that a sandbox that was killed
//! does not find its port in use by somebody's connection.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};

use super::error::SandboxError;
use super::home::Ports;

pub(super) const AZURE: Ipv4Addr = Ipv4Addr::LOCALHOST;
pub(super) const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub(super) const TARGET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
pub(super) const NAME_SERVERS: [Ipv4Addr; 2] =
    [Ipv4Addr::new(127, 0, 0, 4), Ipv4Addr::new(127, 0, 0, 5)];

const LOWEST: u16 = 10_240;
const HIGHEST: u16 = 32_760;
const TRIES: u16 = 200;
/// Time for a dying process to give its ports up, and between two looks. Real time: it does not live in the sandbox's.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Everything bound.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) azure: TcpListener,
    pub(super) identity: TcpListener,
    pub(super) source: TcpListener,
    pub(super) target: TcpListener,
    pub(super) dns_tcp: Vec<TcpListener>,
    pub(super) dns_udp: Vec<UdpSocket>,
}

/// Binds the ports of a restart. A child that the process before was about to start when it was killed holds them until it
/// has become another program, so a port in use is waited for.
pub(super) async fn bind_again(ports: Ports) -> Result<Sockets, SandboxError> {
    let until = tokio::time::Instant::now() + GIVEN_UP_WITHIN;
    loop {
        match bind(ports).await {
            Err(SandboxError::Bind { source, .. })
                if source.kind() == ErrorKind::AddrInUse && tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            bound => return bound,
        }
    }
}

async fn bind(ports: Ports) -> Result<Sockets, SandboxError> {
    let mut dns_tcp = Vec::new();
    let mut dns_udp = Vec::new();
    for address in NAME_SERVERS {
        dns_tcp.push(tcp(address, ports.dns).await?);
        let socket = UdpSocket::bind((address, ports.dns)).await;
        dns_udp.push(socket.map_err(refused(address, ports.dns))?);
    }
    Ok(Sockets {
        azure: tcp(AZURE, ports.azure).await?,
        identity: tcp(AZURE, ports.identity).await?,
        source: tcp(SOURCE, ports.http).await?,
        target: tcp(TARGET, ports.http).await?,
        dns_tcp,
        dns_udp,
    })
}

/// Finds free ports and binds them.
pub(super) async fn bind_new() -> Result<(Ports, Sockets), SandboxError> {
    let mut failed = None;
    for _ in 0..TRIES {
        let random = uuid::Uuid::new_v4().as_u128();
        // Four numbers that differ: the sandbox's services share an address in part.
        let first =
            LOWEST + u16::try_from(random % u128::from(HIGHEST - LOWEST)).expect("below u16");
        let ports = Ports { azure: first, identity: first + 1, http: first + 2, dns: first + 3 };
        match bind(ports).await {
            Ok(sockets) => return Ok((ports, sockets)),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.expect("at least one try was made"))
}

async fn tcp(address: Ipv4Addr, port: u16) -> Result<TcpListener, SandboxError> {
    TcpListener::bind((address, port)).await.map_err(refused(address, port))
}

fn refused(address: Ipv4Addr, port: u16) -> impl FnOnce(std::io::Error) -> SandboxError {
    let address = SocketAddr::from((address, port)).to_string();
    move |source| SandboxError::Bind { address, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_being_given_up_is_waited_for() {
        let (ports, sockets) = bind_new().await.expect("free ports");
        let again = tokio::spawn(bind_again(ports));
        // It has met the port in use once when it lets others run.
        tokio::task::yield_now().await;
        assert!(!again.is_finished());
        drop(sockets);
        again.await.expect("no panic").expect("bound");
    }
}
