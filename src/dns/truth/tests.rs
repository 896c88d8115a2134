//! Judging two servers of a zone that is found by its NS records.

use domain::base::Rtype;
use domain::base::iana::Rcode;

use super::*;
use crate::dns::network::Network;
use crate::dns::record::{Rdata, name};
use crate::dns::testing::{Asked, Canned, TestServer};

const ZONE: &str = "contoso.example";

/// ns1 on 127.0.0.4, ns2 on 127.0.0.5 at the same port; ns2 behaves as told.
async fn zone(ns2: fn(&Asked) -> Option<Canned>) -> (Vec<TestServer>, Network) {
    let zone_data = |question: &Asked| {
        let mut canned = Canned::authoritative();
        let a = |last| (60, Rdata::A([127, 0, 0, last].into()));
        match (question.name.to_string().as_str(), question.rtype) {
            (ZONE, Rtype::NS) => {
                for server in ["ns1.contoso.example", "ns2.contoso.example"] {
                    canned.answer.push((60, Rdata::Ns(name(server).expect("a name"))));
                }
            }
            ("ns1.contoso.example", Rtype::A) => canned.answer.push(a(4)),
            ("ns2.contoso.example", Rtype::A) => canned.answer.push(a(5)),
            ("crm.contoso.example", Rtype::A) => canned.answer.push(a(3)),
            _ => {}
        }
        Some(canned)
    };
    loop {
        let first = TestServer::start("127.0.0.4", zone_data).await;
        let port = first.address.port();
        if let Ok(second) = TestServer::start_at("127.0.0.5", port, ns2).await {
            let network = Network::new(Some(first.address), [(53, port)].into());
            return (vec![first, second], network);
        }
    }
}

async fn truth(ns2: fn(&Asked) -> Option<Canned>) -> Truth {
    let (_servers, network) = zone(ns2).await;
    let panel = Panel::of_zone(&network, ZONE).await.expect("two servers");
    assert_eq!(panel.servers.len(), 2);
    let crm = name("crm.contoso.example").expect("a name");
    panel.ask(&crm, RecordType::A).await
}

fn wanted(_: &Server, set: &RrSet) -> bool {
    set.values.contains(&Rdata::A([127, 0, 0, 3].into()))
}

async fn missing(ns2: fn(&Asked) -> Option<Canned>) -> Vec<String> {
    truth(ns2).await.missing(wanted).iter().map(ToString::to_string).collect()
}

fn holding(last: u8) -> Canned {
    let mut canned = Canned::authoritative();
    canned.answer.push((60, Rdata::A([127, 0, 0, last].into())));
    canned
}

#[tokio::test]
async fn all_servers_agree() {
    let truth = truth(|_| Some(holding(3))).await;
    assert_eq!(truth.missing(wanted), Vec::<&ServerAnswer>::new());
    assert_eq!(truth.shares(), "2 of 2 (100 %) 127.0.0.3");
    assert_eq!(truth.worst(wanted), None);
}

#[tokio::test]
async fn a_stale_server_is_named_with_what_it_serves_and_for_how_long() {
    let truth = truth(|_| Some(holding(2))).await;
    let missing = truth.missing(wanted);
    assert_eq!(
        missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["ns2.contoso.example (127.0.0.5): 127.0.0.2 (TTL 60 s)"]
    );
    assert_eq!(truth.shares(), "1 of 2 (50 %) 127.0.0.2; 1 of 2 (50 %) 127.0.0.3");
    assert_eq!(truth.worst(wanted), Some(std::time::Duration::from_mins(1)));
}

#[tokio::test]
async fn a_server_without_authority_is_named() {
    assert_eq!(
        missing(|_| Some(Canned { aa: false, ..holding(3) })).await,
        ["ns2.contoso.example (127.0.0.5): is not authoritative for the zone"]
    );
}

#[tokio::test]
async fn a_refusing_server_is_named() {
    assert_eq!(
        missing(|_| Some(Canned { rcode: Rcode::REFUSED, ..holding(3) })).await,
        ["ns2.contoso.example (127.0.0.5): said REFUSED"]
    );
}

#[tokio::test]
async fn a_server_of_two_minds_is_named_with_both() {
    assert_eq!(
        missing(|asked| Some(holding(if asked.tcp { 2 } else { 3 }))).await,
        [
            "ns2.contoso.example (127.0.0.5): 127.0.0.3 (TTL 60 s) over UDP, and 127.0.0.2 (TTL 60 s) over TCP"
        ]
    );
}

fn answer(last: u8, said: Said) -> ServerAnswer {
    let address = Some(([127, 0, 0, last], 53).into());
    let server = Server { name: format!("ns{last}"), address, recursive: false };
    ServerAnswer { server, said }
}

#[test]
fn a_transport_that_is_closed_to_all_is_the_path_and_to_one_is_that_server() {
    let set = || RrSet { ttl: 60, values: [Rdata::A([127, 0, 0, 3].into())].into() };
    let half = |last| answer(last, Said::HoldsBut(set(), Transport::Udp));
    let all = Truth(vec![half(1), half(2)]);
    assert_eq!((all.missing(wanted).len(), all.closed()), (0, Some(Transport::Udp)));
    let one = Truth(vec![half(1), answer(2, Said::Holds(set()))]);
    assert_eq!((one.missing(wanted).len(), one.closed()), (1, None));
    let alone = Truth(vec![half(1)]);
    assert_eq!((alone.missing(wanted).len(), alone.closed()), (1, None));
    let mut resolver = answer(9, Said::Holds(set()));
    resolver.server.recursive = true;
    let with_a_resolver = Truth(vec![half(1), resolver]);
    assert_eq!((with_a_resolver.missing(wanted).len(), with_a_resolver.closed()), (1, None));
    let over_both = Truth(vec![half(1), answer(2, Said::HoldsBut(set(), Transport::Tcp))]);
    assert_eq!(over_both.missing(wanted).len(), 2);
}
