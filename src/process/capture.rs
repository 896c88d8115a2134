//! Output of a child: the first and the last 32 KiB, and how much was left out between. No secret is cut in half there: what
//! is left of one would be recognised by nobody.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::sync::CancellationToken;

use crate::diagnostic::redact::Redactor;

/// Kept of either end.
const END_BYTES: usize = 32 * 1024;

/// Reads until the pipe closes, or until `stop`: something that a child left behind may hold the pipe for ever.
pub(super) async fn capture(
    mut pipe: impl AsyncRead + Unpin,
    redactor: Redactor,
    stop: CancellationToken,
) -> String {
    let mut kept = Kept { end: END_BYTES + redactor.reach(), ..Kept::default() };
    let mut chunk = vec![0; 8 * 1024];
    // A pipe that breaks ends the text like one that closes.
    while let Some(Ok(read @ 1..)) = stop.run_until_cancelled(pipe.read(&mut chunk)).await {
        kept.push(&chunk[..read]);
    }
    kept.text(&redactor)
}

#[derive(Default)]
struct Kept {
    /// Bytes kept of either end.
    end: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: usize,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.end - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.end);
        self.tail.drain(..over);
        self.left_out += over;
    }

    fn text(self, redactor: &Redactor) -> String {
        let tail = Vec::from(self.tail);
        if self.left_out == 0 {
            return String::from_utf8_lossy(&[self.head, tail].concat()).into_owned();
        }
        let (first, last) = (redactor.beginning(&self.head), redactor.ending(&tail));
        let left_out = self.left_out + self.head.len() - first.len() + tail.len() - last.len();
        let [first, last] = [first, last].map(String::from_utf8_lossy);
        format!("{first}\n… {left_out} bytes left out …\n{last}")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[tokio::test]
    async fn short_output_is_whole() {
        assert_eq!(
            capture(&b"hello"[..], Redactor::default(), CancellationToken::new()).await,
            "hello"
        );
    }

    #[tokio::test]
    async fn long_output_keeps_both_ends() {
        let mut long = vec![b'a'; 100_000];
        long.extend(b"the end");
        let text = capture(&long[..], Redactor::default(), CancellationToken::new()).await;
        assert!(text.starts_with("aaaa") && text.ends_with("the end"));
        assert!(text.contains("… 34471 bytes left out …"), "{}", text.len());
    }

    #[tokio::test]
    async fn no_half_of_a_secret_is_left_at_a_cut() {
        let (secret, redactor) = ("correct-horse-battery-staple", Redactor::default());
        redactor.register(&SecretString::from(secret)).expect("long enough");
        for before in 0..=2 * secret.len() {
            let cut = END_BYTES + redactor.reach() - secret.len();
            let mut long = vec![b'.'; cut + before - secret.len()];
            long.extend(secret.repeat(3).as_bytes());
            long.extend(vec![b'.'; 100_000]);
            long.extend(secret.repeat(3).as_bytes());
            long.extend(vec![b'.'; cut + before - secret.len()]);
            let text = capture(&long[..], redactor.clone(), CancellationToken::new()).await;
            assert!(text.contains("bytes left out"));
            let clean = redactor.redact(&text);
            for part in secret.as_bytes().windows(6) {
                let part = String::from_utf8_lossy(part);
                assert!(!clean.contains(&*part), "{part} with {before} bytes before");
            }
        }
    }
}
