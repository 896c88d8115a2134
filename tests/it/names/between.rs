//! Somebody between the program and its primary, who sees every message and can let it pass, lose its reply, or do
//! something at just that moment.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Updates are told by their opcode.
const UPDATE: u8 = 5;

/// Where an update is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The primary has not seen it.
    Before,
    /// The primary has answered, and nobody was told.
    After,
}

/// Stands between: `at(number, side)` is called for each update, from 1, and says whether it goes on; else the connection
/// ends. Goes on until the test's process ends.
pub(crate) fn between(
    primary: SocketAddr,
    at: impl Fn(usize, Side) -> bool + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (at, seen) = (Arc::new(at), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (at, seen) = (Arc::clone(&at), Arc::clone(&seen));
            // Either side may end a connection at any time.
            std::thread::spawn(move || pass(client, primary, &*at, &seen));
        }
    });
    address
}

fn pass(
    mut client: TcpStream,
    primary: SocketAddr,
    at: &impl Fn(usize, Side) -> bool,
    seen: &AtomicUsize,
) -> std::io::Result<()> {
    let question = frame(&mut client)?;
    let update = question.get(4).is_some_and(|flags| (flags >> 3) & 0x0f == UPDATE);
    let number = if update { seen.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
    if update && !at(number, Side::Before) {
        return Ok(());
    }
    let mut server = TcpStream::connect(primary)?;
    server.write_all(&question)?;
    let reply = frame(&mut server)?;
    if update && !at(number, Side::After) {
        return Ok(());
    }
    client.write_all(&reply)
}

/// One message with its length.
fn frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; 2 + usize::from(u16::from_be_bytes(length))];
    frame[..2].copy_from_slice(&length);
    stream.read_exact(&mut frame[2..])?;
    Ok(frame)
}
