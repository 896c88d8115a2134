//! Makes the estate of the sample waves: files and databases of two workloads, the same for the same seed.
//!
//! ```text
//! cargo run --example estate -- ./estate 42
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use migrate::sandbox::estate;
use migrate::sandbox::scenario::Estate;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| "estate".to_owned()));
    let seed = arguments.next().map_or(Ok(Estate::default().seed), |seed| seed.parse());
    let Ok(seed) = seed else {
        return ExitCode::from(2);
    };
    match estate::create(&dir, &Estate { seed, ..Estate::default() }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).init();
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
