//! Answers of the name servers, over UDP and TCP.

use std::str::FromStr;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::AllRecordData;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn query(name: &str, kind: Rtype) -> Vec<u8> {
    let mut question = MessageBuilder::new_vec().question();
    let name: Name<Vec<u8>> = Name::from_str(name).expect("a name");
    question.push((name, kind)).expect("it fits");
    question.finish()
}

/// Response code, AA, and answers as text.
fn read(reply: &[u8]) -> (Rcode, bool, Vec<String>) {
    let message = Message::from_octets(reply).expect("a message");
    let records = message.answer().expect("answers").limit_to::<AllRecordData<_, _>>();
    let texts = records.map(|record| record.expect("a record").data().to_string());
    (message.header().rcode(), message.header().aa(), texts.collect())
}

async fn udp(server: SocketAddr, name: &str, kind: Rtype) -> (Rcode, bool, Vec<String>) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.send_to(&query(name, kind), server).await.expect("it is sent");
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await.expect("an answer");
    read(&buffer[..length])
}

async fn tcp(server: SocketAddr, name: &str, kind: Rtype) -> (Rcode, bool, Vec<String>) {
    let mut stream = tokio::net::TcpStream::connect(server).await.expect("a connection");
    let query = query(name, kind);
    let length = u16::try_from(query.len()).expect("short");
    stream.write_all(&[&length.to_be_bytes()[..], &query].concat()).await.expect("it is sent");
    let mut reply = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
    stream.read_exact(&mut reply).await.expect("an answer");
    read(&reply)
}

#[tokio::test]
async fn answers_follow_arm_at_every_server_over_udp_and_tcp() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = start(dir.path()).await;
    let arm = Client::of(&sandbox).await;
    for target in ["crm-source.contoso.example", "crm-target.contoso.example"] {
        let (status, _) = arm.send(Method::PUT, &record("crm"), &[], Some(&cname(target))).await;
        assert_eq!(status, 200);
        let wanted = (Rcode::NOERROR, true, vec![format!("{target}.")]);
        for server in sockets::NAME_SERVERS {
            let server = SocketAddr::from((server, sandbox.ports.dns));
            let alias = "CRM.contoso.example";
            let texts = |(rcode, aa, texts): (Rcode, bool, Vec<String>)| {
                let dotted = |text: String| format!("{}.", text.trim_end_matches('.'));
                (rcode, aa, texts.into_iter().map(dotted).collect::<Vec<_>>())
            };
            assert_eq!(texts(udp(server, alias, Rtype::A).await), wanted);
            assert_eq!(texts(tcp(server, alias, Rtype::CNAME).await), wanted);
        }
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn no_name_no_record_and_no_zone_are_three_answers() {
    let dir = tempfile::tempdir().expect("a folder");
    let sandbox = start(dir.path()).await;
    let server = sandbox.network.resolver().expect("a resolver");
    let none: Vec<String> = Vec::new();
    let ask = |name, kind| udp(server, name, kind);
    assert_eq!(
        ask("nobody.contoso.example", Rtype::A).await,
        (Rcode::NXDOMAIN, true, none.clone())
    );
    assert_eq!(
        ask("hooks.contoso.example", Rtype::AAAA).await,
        (Rcode::NOERROR, true, none.clone())
    );
    assert_eq!(ask("other.example", Rtype::A).await, (Rcode::REFUSED, false, none));
    assert_eq!(ask("hooks.contoso.example", Rtype::A).await.2, ["127.0.0.2"]);
    assert_eq!(ask("contoso.example", Rtype::NS).await.2.len(), 2);
    sandbox.stop().await;
}
