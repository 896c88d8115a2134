//! One question to one server: UDP first, TCP when the answer was cut off or when asked for.
//!
//! Promises: a reply is only taken from the server that was asked, to the question that was asked; a server that says
//! nothing in time is an error, never an empty answer. Waits real time, because a socket does.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::message_builder::AdditionalBuilder;
use domain::base::rdata::ComposeRecordData as _;
use domain::base::wire::ParseError;
use domain::base::{Message, MessageBuilder, Rtype, ToName as _};
use domain::rdata::{A, Aaaa, Cname, Mx, Ns, Soa, Srv, Txt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::record::{Name, Rdata};
use crate::crash;

/// What fits into one unfragmented packet on nearly every path (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;

/// How a question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To a resolver: recursion desired.
    Recursive,
    /// To an authoritative server: no recursion.
    Authoritative,
    /// To an authoritative server, over TCP from the start.
    AuthoritativeTcp,
}

/// How long to wait for a server, in real time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// For one UDP exchange; two are tried.
    pub udp: Duration,
    /// For one TCP exchange, connection included.
    pub tcp: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { udp: Duration::from_secs(2), tcp: Duration::from_secs(5) }
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// This machine has no route to the address, typically IPv6 without IPv6.
    #[error("no route from this machine to {0}")]
    NoRoute(SocketAddr),
    /// Nothing came in time.
    #[error("{0} did not answer in time")]
    Silent(SocketAddr),
    /// The socket failed.
    #[error("asking {0} failed")]
    Io(SocketAddr, #[source] io::Error),
    /// The reply can not be read.
    #[error("{0} sent a reply that can not be read")]
    Malformed(SocketAddr, #[source] ParseError),
    /// The reply is to another question.
    #[error("{0} answered another question")]
    OtherQuestion(SocketAddr),
}

/// One record of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyRecord {
    /// Whose record it is.
    pub owner: Name,
    /// Seconds.
    pub ttl: u32,
    /// The value.
    pub rdata: Rdata,
    /// The value as it came over the wire, names written out: the strings of a text as they were cut.
    pub wire: Vec<u8>,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The AA bit: the server speaks for the zone.
    pub authoritative: bool,
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, `REFUSED`, …
    pub rcode: Rcode,
    /// The answer section, without types this program does not know.
    pub answer: Vec<ReplyRecord>,
    /// The types that were left out.
    pub others: BTreeSet<Rtype>,
    /// The zone's serial: of an answer about its start of authority, or of a negative answer.
    pub serial: Option<u32>,
    /// Seconds for which a resolver may remember a negative answer.
    pub negative_ttl: Option<u32>,
}

/// Asks one server one question.
pub async fn ask(
    server: SocketAddr,
    name: &Name,
    rtype: Rtype,
    mode: Mode,
) -> Result<Reply, QueryError> {
    ask_within(server, name, rtype, mode, Waits::default()).await
}

/// The same, in a time of the caller's.
pub async fn ask_within(
    server: SocketAddr,
    name: &Name,
    rtype: Rtype,
    mode: Mode,
    waits: Waits,
) -> Result<Reply, QueryError> {
    let call = crash::call(|| format!("ask {server} for {rtype} of {name}"));
    let reply = exchange(server, name, rtype, mode, waits).await?;
    call.made();
    Ok(reply)
}

/// The same where it is a part of another call: the address of a host that a request goes to.
pub(super) async fn exchange(
    server: SocketAddr,
    name: &Name,
    rtype: Rtype,
    mode: Mode,
    waits: Waits,
) -> Result<Reply, QueryError> {
    let question = question(name, rtype, mode == Mode::Recursive).into_message();
    if mode != Mode::AuthoritativeTcp {
        let reply = over_udp(server, &question, waits.udp).await?;
        if !reply.header().tc() {
            return read(server, &reply);
        }
    }
    read(server, &over_tcp(server, &question, waits.tcp).await?)
}

/// A question, open for a signature.
pub(super) fn question(name: &Name, rtype: Rtype, recursion: bool) -> AdditionalBuilder<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_random_id();
    builder.header_mut().set_rd(recursion);
    let mut builder = builder.question();
    builder.push((name, rtype)).expect("one question fits into any message");
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(UDP_PAYLOAD);
            Ok(())
        })
        .expect("an empty OPT record fits behind one question");
    builder
}

async fn over_udp(
    server: SocketAddr,
    question: &Message<Vec<u8>>,
    wait: Duration,
) -> Result<Message<Vec<u8>>, QueryError> {
    let io = |error| socket_error(server, error);
    let local: SocketAddr =
        if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await.map_err(io)?;
    // A connected socket takes packets from this server only and reports a refused port.
    socket.connect(server).await.map_err(io)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    for _ in 0..2 {
        socket.send(question.as_slice()).await.map_err(io)?;
        match timeout(wait, matching_datagram(&socket, question, &mut buffer)).await {
            Ok(reply) => return reply.map_err(io),
            Err(_elapsed) => {}
        }
    }
    Err(QueryError::Silent(server))
}

/// Reads packets until one is the reply; a packet with another id or question is somebody's guess and is passed over.
async fn matching_datagram(
    socket: &UdpSocket,
    question: &Message<Vec<u8>>,
    buffer: &mut [u8],
) -> io::Result<Message<Vec<u8>>> {
    loop {
        let length = socket.recv(buffer).await?;
        if let Ok(reply) = Message::from_octets(buffer[..length].to_vec())
            && reply.is_answer(question)
        {
            return Ok(reply);
        }
    }
}

async fn over_tcp(
    server: SocketAddr,
    question: &Message<Vec<u8>>,
    wait: Duration,
) -> Result<Message<Vec<u8>>, QueryError> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(question.as_slice().len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(question.as_slice());
        stream.write_all(&framed).await?;
        let mut reply = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut reply).await?;
        Ok(reply)
    };
    let octets = timeout(wait, exchange)
        .await
        .map_err(|_elapsed| QueryError::Silent(server))?
        .map_err(|error| socket_error(server, error))?;
    let reply = Message::from_octets(octets)
        .map_err(|_short| QueryError::Malformed(server, ParseError::ShortInput))?;
    if reply.is_answer(question) { Ok(reply) } else { Err(QueryError::OtherQuestion(server)) }
}

fn socket_error(server: SocketAddr, error: io::Error) -> QueryError {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::Unsupported => QueryError::NoRoute(server),
        _ => QueryError::Io(server, error),
    }
}

/// Reads a reply that came from `server`.
pub(super) fn read(server: SocketAddr, reply: &Message<Vec<u8>>) -> Result<Reply, QueryError> {
    let broken = |error| QueryError::Malformed(server, error);
    let mut answer = Vec::new();
    let (mut others, mut serial, mut negative_ttl) = (BTreeSet::new(), None, None);
    for record in reply.answer().map_err(broken)? {
        let record = record.map_err(broken)?;
        if let Some((rdata, wire)) = rdata(&record).map_err(broken)? {
            let owner = record.owner().to_name();
            answer.push(ReplyRecord { owner, ttl: record.ttl().as_secs(), rdata, wire });
        } else if let Some(soa) = record.to_record::<Soa<_>>().map_err(broken)? {
            serial = Some(soa.data().serial().into_int());
        } else {
            others.insert(record.rtype());
        }
    }
    for soa in reply.authority().map_err(broken)?.limit_to::<Soa<_>>().filter_map(Result::ok) {
        serial = Some(soa.data().serial().into_int());
        negative_ttl = Some(soa.ttl().min(soa.data().minimum()).as_secs());
    }
    Ok(Reply {
        authoritative: reply.header().aa(),
        rcode: reply.header().rcode(),
        answer,
        others,
        serial,
        negative_ttl,
    })
}

type Parsed<'a> = domain::base::record::ParsedRecord<'a, Vec<u8>>;

/// The value of a record, and its wire form; none for types this program does not know.
fn rdata(record: &Parsed<'_>) -> Result<Option<(Rdata, Vec<u8>)>, ParseError> {
    let rdata = match record.rtype() {
        Rtype::A => record.to_record::<A>()?.map(|it| Rdata::A(it.data().addr())),
        Rtype::AAAA => record.to_record::<Aaaa>()?.map(|it| Rdata::Aaaa(it.data().addr())),
        Rtype::CNAME => {
            record.to_record::<Cname<_>>()?.map(|it| Rdata::Cname(it.data().cname().to_name()))
        }
        Rtype::NS => {
            record.to_record::<Ns<_>>()?.map(|it| Rdata::Ns(it.data().nsdname().to_name()))
        }
        Rtype::MX => record
            .to_record::<Mx<_>>()?
            .map(|it| Rdata::Mx(it.data().preference(), it.data().exchange().to_name())),
        Rtype::SRV => record.to_record::<Srv<_>>()?.map(|it| {
            let srv = it.data();
            Rdata::Srv(srv.priority(), srv.weight(), srv.port(), srv.target().to_name())
        }),
        Rtype::TXT => {
            let Some(record) = record.to_record::<Txt<_>>()? else { return Ok(None) };
            let mut wire = Vec::new();
            let Ok(()) = record.data().compose_rdata(&mut wire);
            return Ok(Some((Rdata::Txt(record.data().text()), wire)));
        }
        _ => None,
    };
    Ok(rdata.map(|rdata| {
        let wire = rdata.wire();
        (rdata, wire)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::record::name;
    use crate::dns::testing::{Canned, TestServer};

    #[tokio::test]
    async fn a_cut_off_answer_is_asked_again_over_tcp() {
        let server = TestServer::start("127.0.0.1", |question| {
            let mut canned = Canned::authoritative();
            if question.tcp {
                canned.answer.push((60, Rdata::Txt(vec![b'x'; 900])));
            } else {
                canned.truncated = true;
            }
            Some(canned)
        })
        .await;
        let name = name("big.contoso.example").expect("a name");
        let reply =
            ask(server.address, &name, Rtype::TXT, Mode::Authoritative).await.expect("an answer");
        assert!(reply.authoritative);
        assert_eq!(reply.answer.len(), 1);
        assert_eq!(reply.answer[0].rdata, Rdata::Txt(vec![b'x'; 900]));
    }

    #[tokio::test]
    async fn a_closed_port_is_an_error_and_no_empty_answer() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        drop(socket);
        let name = name("contoso.example").expect("a name");
        let error = ask(address, &name, Rtype::A, Mode::Recursive).await.expect_err("nobody there");
        assert!(matches!(error, QueryError::Io(..)), "{error}");
    }
}
