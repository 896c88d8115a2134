//! The template of a deployment: an ARM JSON file, or a Bicep file that the `bicep` program compiles.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::super::StepCx;
use crate::process::{Ended, Program};

/// Lines of a compiler's words that are worth a place.
const LINES: usize = 20;

/// Reads it, and compiles it where it is Bicep. The error says what is wrong, not with which file.
pub(super) async fn read(cx: &StepCx, path: &Path) -> Result<Value, String> {
    let text = if path.extension().is_some_and(|it| it == "bicep") {
        compiled(cx, path).await?
    } else {
        tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())?
    };
    let mut template: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    // Who compiled it is no part of what is deployed: the same template from a newer compiler is the same request.
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("_generator");
    }
    Ok(template)
}

/// ARM JSON by `bicep build`, into a file that goes at once: a template may be longer than the output that is kept of a
/// child. It reads the file and those that this one names, and writes nothing else.
async fn compiled(cx: &StepCx, path: &Path) -> Result<String, String> {
    // Refused by us, so that nobody searches the compiler's words for it.
    tokio::fs::metadata(path).await.map_err(|error| error.to_string())?;
    let name = format!("migrate-bicep-{}.json", uuid::Uuid::new_v4().simple());
    let compiled = std::env::temp_dir().join(name);
    let argv = ["bicep", "build", &path.display().to_string(), "--outfile"].map(str::to_owned);
    let program = Program {
        argv: argv.into_iter().chain([compiled.display().to_string()]).collect(),
        env: BTreeMap::new(),
        folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
        redactor: cx.world.secrets.redactor(),
    };
    let ended = program.read(&cx.cancel).await;
    let text = tokio::fs::read_to_string(&compiled).await;
    // It may never have been made.
    let _ = tokio::fs::remove_file(&compiled).await;
    let ended = ended.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|it| format!(": {it}"));
        let hint = "; install `bicep`, or compile it beforehand: `az bicep build`";
        format!("{error}{}{hint}", cause.unwrap_or_default())
    })?;
    match ended {
        Ended { code: Some(0), .. } => {
            text.map_err(|error| format!("bicep left no template: {error}"))
        }
        Ended { stderr, .. } => {
            let said: Vec<_> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
            Err(format!("bicep: {}", said[..said.len().min(LINES)].join("; ")))
        }
    }
}
