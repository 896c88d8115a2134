//! What a name server says: the header and the question of the reply are made to fit, everything else is the input.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};

use domain::base::Rtype;
use migrate::dns::{Mode, ask, record};

/// Bytes of a DNS header.
const HEADER: usize = 12;

/// The server's socket, and the client's runtime.
struct Line {
    server: UdpSocket,
    address: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

static LINE: LazyLock<Mutex<Line>> = LazyLock::new(|| {
    let server = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port on loopback");
    let address = server.local_addr().expect("bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Mutex::new(Line { server, address, runtime: runtime.expect("a runtime") })
});

/// Asks, and is answered by the input.
pub(crate) fn any(input: &[u8]) {
    let line = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let name = record::name("crm.contoso.example").expect("a name");
    let reply = |question: &[u8]| {
        // Flags and the numbers of records are the input's; without the bit for a cut-off answer, which means TCP.
        let mut reply = question[..2].to_vec();
        let flags = [input.first().copied().unwrap_or(0), input.get(1).copied().unwrap_or(0)];
        reply.extend([(flags[0] | 0x80) & !0x02, flags[1], 0, 1]);
        reply.extend((2..8).map(|at| input.get(at).copied().unwrap_or(0)));
        reply.extend(&question[HEADER..HEADER + question_length(question)]);
        reply.extend(input.get(8..).unwrap_or_default());
        reply.truncate(usize::from(u16::MAX) - 64);
        reply
    };
    let said = line.runtime.block_on(async {
        let asked = ask(line.address, &name, Rtype::CNAME, Mode::Authoritative);
        let answered = async {
            let mut question = [0; 512];
            let server = line.server.try_clone().expect("a second handle");
            server.set_nonblocking(true).expect("a mode");
            let server = tokio::net::UdpSocket::from_std(server).expect("registered");
            let (length, from) = server.recv_from(&mut question).await.expect("a question");
            server.send_to(&reply(&question[..length]), from).await.expect("sent");
        };
        tokio::join!(asked, answered).0
    });
    let _ = format!("{said:?}");
}

/// Bytes of the one question behind the header: labels, their end, type and class.
fn question_length(question: &[u8]) -> usize {
    let mut at = HEADER;
    while question.get(at).is_some_and(|length| *length != 0) {
        at += 1 + usize::from(question[at]);
    }
    at + 1 + 4 - HEADER
}
