//! A DNS server for tests: real UDP and TCP sockets on loopback, answers from a closure.

use std::net::SocketAddr;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Rtype, ToName as _, Ttl};
use domain::rdata::{A, Aaaa, Cname, Mx, Ns, Soa, Srv, Txt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use super::record::{Name, Rdata};

/// What was asked.
pub(crate) struct Asked {
    pub(crate) name: Name,
    pub(crate) rtype: Rtype,
    pub(crate) tcp: bool,
}

/// What is answered, all records under the name asked.
pub(crate) struct Canned {
    pub(crate) aa: bool,
    pub(crate) truncated: bool,
    pub(crate) rcode: Rcode,
    pub(crate) answer: Vec<(u32, Rdata)>,
    /// Whose records these are, where not the name's that was asked.
    pub(crate) owner: Option<Name>,
    /// The serial of an answer about the zone's start of authority.
    pub(crate) soa: Option<u32>,
}

impl Canned {
    pub(crate) fn authoritative() -> Self {
        let (rcode, answer) = (Rcode::NOERROR, Vec::new());
        Self { aa: true, truncated: false, rcode, answer, owner: None, soa: None }
    }
}

/// Runs until dropped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl TestServer {
    /// Serves on a free port of this loopback address; `None` from the closure is silence.
    pub(crate) async fn start(
        ip: &str,
        answer: impl Fn(&Asked) -> Option<Canned> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(ip, 0, answer).await.expect("a port free for UDP and TCP")
    }

    /// The same on one port.
    pub(crate) async fn start_at(
        ip: &str,
        port: u16,
        answer: impl Fn(&Asked) -> Option<Canned> + Clone + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let tcp = TcpListener::bind((ip, port)).await?;
        let address = tcp.local_addr()?;
        let udp = UdpSocket::bind(address).await?;
        let over_udp = answer.clone();
        let datagrams = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                if let Some(reply) = reply(&buffer[..length], false, &over_udp) {
                    let _ = udp.send_to(&reply, from).await;
                }
            }
        });
        let streams = tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let Ok(length) = stream.read_u16().await else { continue };
                let mut question = vec![0; usize::from(length)];
                if stream.read_exact(&mut question).await.is_err() {
                    continue;
                }
                if let Some(reply) = reply(&question, true, &answer) {
                    let length = u16::try_from(reply.len()).expect("a short answer");
                    let _ = stream.write_u16(length).await;
                    let _ = stream.write_all(&reply).await;
                }
            }
        });
        Ok(Self { address, tasks: [datagrams, streams] })
    }
}

fn reply(
    question: &[u8],
    tcp: bool,
    answer: &impl Fn(&Asked) -> Option<Canned>,
) -> Option<Vec<u8>> {
    let question = Message::from_slice(question).expect("a message");
    let asked = question.sole_question().expect("one question");
    let name: Name = asked.qname().to_name();
    let canned = answer(&Asked { name: name.clone(), rtype: asked.qtype(), tcp })?;
    let mut builder =
        MessageBuilder::new_vec().start_answer(question, canned.rcode).expect("an answer");
    builder.header_mut().set_aa(canned.aa);
    builder.header_mut().set_tc(canned.truncated);
    let name = canned.owner.unwrap_or(name);
    if let Some(serial) = canned.soa {
        let minute = Ttl::from_mins(1);
        let soa = Soa::new(&name, &name, serial.into(), minute, minute, minute, minute);
        builder.push((&name, minute, soa)).expect("room");
    }
    for (ttl, rdata) in canned.answer {
        let pushed = match rdata {
            Rdata::A(address) => builder.push((&name, ttl, A::new(address))),
            Rdata::Aaaa(address) => builder.push((&name, ttl, Aaaa::new(address))),
            Rdata::Cname(target) => builder.push((&name, ttl, Cname::new(target))),
            Rdata::Ns(target) => builder.push((&name, ttl, Ns::new(target))),
            Rdata::Mx(preference, target) => {
                builder.push((&name, ttl, Mx::new(preference, target)))
            }
            Rdata::Txt(text) => {
                builder.push((&name, ttl, Txt::<Vec<u8>>::build_from_slice(&text).expect("short")))
            }
            Rdata::Srv(priority, weight, port, target) => {
                builder.push((&name, ttl, Srv::new(priority, weight, port, target)))
            }
        };
        pushed.expect("room");
    }
    Some(builder.finish())
}
