//! Output of a child: the first and the last 32 KiB, and how much was left out between.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Kept of either end.
const END_BYTES: usize = 32 * 1024;

/// Reads until the pipe closes.
pub(super) async fn capture(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut kept = Kept::default();
    let mut chunk = vec![0; 8 * 1024];
    // A pipe that breaks ends the text like one that closes.
    while let Ok(read) = pipe.read(&mut chunk).await {
        if read == 0 {
            break;
        }
        kept.push(&chunk[..read]);
    }
    kept.text()
}

#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(END_BYTES - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(END_BYTES);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    fn text(self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.left_out > 0 {
            text.extend(["\n… ", &self.left_out.to_string(), " bytes left out …\n"]);
        }
        text.push_str(&String::from_utf8_lossy(&Vec::from(self.tail)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn short_output_is_whole() {
        assert_eq!(capture(&b"hello"[..]).await, "hello");
    }

    #[tokio::test]
    async fn long_output_keeps_both_ends() {
        let mut long = vec![b'a'; 100_000];
        long.extend(b"the end");
        let text = capture(&long[..]).await;
        assert!(text.starts_with("aaaa") && text.ends_with("the end"));
        assert!(text.contains("… 34471 bytes left out …"), "{}", text.len());
    }
}
