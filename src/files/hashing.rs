//! Digests of many files side by side, on blocking threads.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::{Digests, FilesError, Hash, digest};

/// Digests of `paths`, in their order. A file that can not be read is an error of its own, not of the whole.
///
/// `seen` is told now and then how many files are behind.
pub(super) async fn digest_all(
    paths: Vec<PathBuf>,
    hashes: &[Hash],
    cancel: &CancellationToken,
    seen: &(dyn Fn(u64) + Sync),
) -> Result<Vec<io::Result<Digests>>, FilesError> {
    let total = paths.len();
    let work = Arc::new((paths, hashes.to_vec(), AtomicUsize::new(0), AtomicU64::new(0)));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(total.max(1));
    let mut workers: Vec<_> = (0..threads)
        .map(|_| {
            let (work, cancel) = (Arc::clone(&work), cancel.clone());
            tokio::task::spawn_blocking(move || {
                let (paths, hashes, next, behind) = &*work;
                let mut found = Vec::new();
                while !cancel.is_cancelled() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(at) else { break };
                    found.push((at, digest(path, hashes)));
                    behind.fetch_add(1, Ordering::Relaxed);
                }
                found
            })
        })
        .collect();
    let mut all: Vec<Option<io::Result<Digests>>> = (0..total).map(|_| None).collect();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
    while let Some(worker) = workers.last_mut() {
        tokio::select! {
            found = worker => {
                workers.pop();
                for (at, digests) in found.map_err(|_| FilesError::Cancelled)? {
                    all[at] = Some(digests);
                }
            }
            _ = tick.tick() => seen(work.3.load(Ordering::Relaxed)),
        }
    }
    seen(work.3.load(Ordering::Relaxed));
    all.into_iter().collect::<Option<Vec<_>>>().ok_or(FilesError::Cancelled)
}
