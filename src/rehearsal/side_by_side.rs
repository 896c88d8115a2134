//! Trials of a matrix, several at once: each is a process of its own in a folder of its own.

use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::sync::CancellationToken;

use super::RehearsalError;
use super::certificate::Tried;

/// How the trials of a matrix go on.
#[derive(Clone, Copy)]
pub struct Pace<'p> {
    /// So many at once.
    pub jobs: usize,
    /// Is told of each that has ended.
    pub ended: &'p (dyn Fn(&Tried) + Sync),
    /// Once cancelled no more are begun, and those under way are tried to their end.
    pub stop: &'p CancellationToken,
}

/// Tries every point; the answers stand in the points' order, whatever order they end in.
pub(super) async fn side_by_side<'p, P, T>(
    points: &'p [P],
    pace: Pace<'_>,
    trial: impl Fn(usize, &'p P) -> T,
) -> Result<Vec<Tried>, RehearsalError>
where
    T: Future<Output = Result<Tried, RehearsalError>>,
{
    let trials = points.iter().enumerate().map(|(at, point)| {
        let trial = trial(at, point);
        async move {
            let tried = trial.await?;
            (pace.ended)(&tried);
            Ok::<_, RehearsalError>((at, tried))
        }
    });
    let trials: Vec<_> = trials.collect();
    let trials = futures::stream::iter(trials).take_until(pace.stop.cancelled());
    let mut tried: Vec<_> = trials.buffer_unordered(pace.jobs).try_collect().await?;
    tried.sort_by_key(|(at, _)| *at);
    Ok(tried.into_iter().map(|(_, tried)| tried).collect())
}
