//! The world of a sandbox as one value that tests compare: what a run left behind, and nothing that differs between two
//! right runs (etags, times, ids, the source's late orders).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use super::app;
use super::azure::hex;
use super::error::SandboxError;
use super::home;
use super::store::Store;

/// See the module. Everything is in order of names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldSnapshot {
    /// `zone/type/name` -> properties.
    pub record_sets: BTreeMap<String, Value>,
    /// Lower-case id -> level.
    pub locks: BTreeMap<String, String>,
    /// Lower-case id of the group -> mode, outputs and resources of each deployment, sorted; names hold the run's id.
    pub deployments: BTreeMap<String, Vec<String>>,
    /// Names of resource groups.
    pub groups: Vec<String>,
    /// Lower-case id -> properties, of everything else in ARM.
    pub resources: BTreeMap<String, Value>,
    /// `site-app` -> whether writes are refused.
    pub maintenance: BTreeMap<String, bool>,
    /// Path in the estate -> SHA-256, of everything outside `source` but databases.
    pub files: BTreeMap<String, String>,
    /// `app/table` -> rows and SHA-256 over them.
    pub target_tables: BTreeMap<String, Table>,
    /// Application -> what became of its client's orders.
    pub orders: BTreeMap<String, Orders>,
    /// `path step/key` of webhooks -> deliveries kept; the run's id is left out of the key.
    pub hooks: BTreeMap<String, u32>,
}

/// A table's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Rows.
    pub rows: u64,
    /// SHA-256 over every row, in order.
    pub sha256: String,
}

/// What became of the writing client's orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Acknowledged to the client.
    pub acknowledged: u64,
    /// Acknowledged, and not at the target.
    pub missing_at_target: Vec<i64>,
    /// Acknowledged, and at neither site: lost.
    pub lost: Vec<i64>,
}

/// Reads the world of the sandbox in `dir`. Changes nothing; the sandbox may be running.
pub async fn world(dir: &Path) -> Result<WorldSnapshot, SandboxError> {
    let mut snapshot = arm(dir)?;
    let estate = home::estate_in(dir);
    for path in files_below(&estate)? {
        let relative = path.strip_prefix(&estate).expect("it is below the estate");
        let name = relative.to_string_lossy().replace('\\', "/");
        if name.starts_with("source/") {
            continue;
        }
        if let Some((folder, database)) = name
            .rsplit_once('/')
            .filter(|(_, it)| Path::new(it).extension().is_some_and(|it| it == "db"))
        {
            // A backup's database holds as many orders as there were by then.
            if let Some(app) = folder.strip_prefix("target/").filter(|_| database == "app.db") {
                let tables = tables(&path).await;
                let tables = tables.map_err(|source| SandboxError::Estate { path, source })?;
                let named = tables.into_iter().map(|(table, it)| (format!("{app}/{table}"), it));
                snapshot.target_tables.extend(named);
            }
            continue;
        }
        let bytes = fs::read(&path).map_err(SandboxError::file("read", &path))?;
        snapshot.files.insert(name, hex(&Sha256::digest(&bytes)));
    }
    if let Some(settings) = home::settings(dir)? {
        for app in settings.scenario.estate.workloads {
            let orders = orders(dir, &estate, &app).await?;
            snapshot.orders.insert(app, orders);
        }
    }
    Ok(snapshot)
}

/// What the ledger says.
fn arm(dir: &Path) -> Result<WorldSnapshot, SandboxError> {
    let world = Store::fold(dir)?;
    let mut snapshot = WorldSnapshot::default();
    for (key, doc) in &world.docs {
        let text = |field: &str| doc[field].as_str().unwrap_or("").to_owned();
        let kind = text("type").to_ascii_lowercase();
        if let Some(switch) = key.strip_prefix("maintenance-") {
            snapshot.maintenance.insert(switch.to_owned(), doc["enabled"] == true);
        } else if key.starts_with("hook-") {
            let id = text("key");
            let within_run = id.split_once('/').map_or(id.as_str(), |(_run, rest)| rest);
            *snapshot.hooks.entry(format!("{} {within_run}", text("path"))).or_default() += 1;
        } else if !key.starts_with('/') {
            // Faults and drift that have happened are the scenario's, not the run's.
        } else if let Some(record) = kind
            .strip_prefix("microsoft.network/dnszones/")
            .or(kind.strip_prefix("microsoft.network/privatednszones/"))
        {
            let zone = key.rsplit('/').nth(2).unwrap_or("");
            let name = format!("{zone}/{record}/{}", text("name"));
            snapshot.record_sets.insert(name, doc["properties"].clone());
        } else {
            match kind.as_str() {
                "microsoft.authorization/locks" => {
                    let level = doc["properties"]["level"].as_str().unwrap_or("").to_owned();
                    snapshot.locks.insert(key.clone(), level);
                }
                "microsoft.resources/deployments" => {
                    let group = key.split("/providers/").next().unwrap_or("").to_owned();
                    let known = ["mode", "outputs", "outputResources", "error"];
                    let known = known.map(|field| doc["properties"][field].to_string());
                    let deployments = snapshot.deployments.entry(group).or_default();
                    deployments.push(known.join(" "));
                    deployments.sort();
                }
                "microsoft.resources/resourcegroups" => snapshot.groups.push(text("name")),
                _ => {
                    snapshot.resources.insert(key.clone(), doc["properties"].clone());
                }
            }
        }
    }
    Ok(snapshot)
}

fn files_below(dir: &Path) -> Result<Vec<std::path::PathBuf>, SandboxError> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(SandboxError::file("list", &folder))? {
            let path = entry.map_err(SandboxError::file("list", &folder))?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

async fn tables(path: &Path) -> Result<BTreeMap<String, Table>, sqlx::Error> {
    let mut database = app::open(path).await?;
    let names: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            .fetch_all(&mut database)
            .await?;
    let mut tables = BTreeMap::new();
    for (name,) in names {
        tables.insert(name.clone(), table(&mut database, &name).await?);
    }
    database.close().await?;
    Ok(tables)
}

async fn table(database: &mut SqliteConnection, name: &str) -> Result<Table, sqlx::Error> {
    let columns: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM pragma_table_info(?1) ORDER BY cid")
            .bind(name)
            .fetch_all(&mut *database)
            .await?;
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let columns: Vec<_> =
        columns.iter().map(|(column,)| format!("quote({})", quoted(column))).collect();
    // Names come from the database's own schema, quoted.
    let query = format!("SELECT {} FROM {} ORDER BY 1", columns.join(" || ',' || "), quoted(name));
    let rows: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(query)).fetch_all(database).await?;
    let mut hash = Sha256::new();
    for (row,) in &rows {
        hash.update(row.as_bytes());
        hash.update(b"\n");
    }
    Ok(Table { rows: rows.len() as u64, sha256: hex(&hash.finalize()) })
}

async fn orders(dir: &Path, estate: &Path, app: &str) -> Result<Orders, SandboxError> {
    let acknowledged = app::acknowledged(dir, app)?;
    let mut sites = Vec::new();
    for site in ["source", "target"] {
        let path = estate.join(site).join(app).join("app.db");
        let ids = if path.exists() { web_orders(&path).await } else { Ok(Vec::new()) };
        sites.push(ids.map_err(|source| SandboxError::Estate { path, source })?);
    }
    let not_in = |ids: &[i64]| -> Vec<i64> {
        let all = acknowledged.iter().map(|id| i64::from(*id));
        all.filter(|id| ids.binary_search(id).is_err()).collect()
    };
    let missing_at_target = not_in(&sites[1]);
    let mut lost = not_in(&sites[0]);
    lost.retain(|id| missing_at_target.contains(id));
    Ok(Orders { acknowledged: acknowledged.len() as u64, missing_at_target, lost })
}

async fn web_orders(path: &Path) -> Result<Vec<i64>, sqlx::Error> {
    let mut database = app::open(path).await?;
    let ids: Vec<(i64,)> = sqlx::query_as("SELECT id FROM orders WHERE channel = ?1 ORDER BY id")
        .bind(app::CHANNEL)
        .fetch_all(&mut database)
        .await?;
    database.close().await?;
    Ok(ids.into_iter().map(|(id,)| id).collect())
}
