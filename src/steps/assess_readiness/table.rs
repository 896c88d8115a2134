//! The readiness table: what a machine says about itself, and which findings follow. Pure.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::azure::{AssessedMachine, Suitability};

/// Something that keeps a machine from moving as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The operating system is not supported in Azure.
    UnsupportedOs,
    /// It boots by BIOS.
    LegacyBoot,
    /// The driver of an emulated network card.
    LegacyNic,
    /// The application writes to its own disk.
    LocalFiles,
    /// Addresses are written into it.
    FixedIps,
    /// An antivirus of the host.
    HostAntivirus,
    /// Accounts are written into it.
    FixedAccounts,
    /// All machines together cost too much.
    OverBudget,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::UnsupportedOs => "unsupported-os",
            Self::LegacyBoot => "legacy-boot",
            Self::LegacyNic => "legacy-nic",
            Self::LocalFiles => "local-files",
            Self::FixedIps => "fixed-ips",
            Self::HostAntivirus => "host-antivirus",
            Self::FixedAccounts => "fixed-accounts",
            Self::OverBudget => "over-budget",
        })
    }
}

/// Whether a finding is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Unknown,
}

/// What is known of one machine; an empty text is not known.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    pub(super) name: String,
    os: String,
    boot: String,
    nic_driver: String,
    local_files: String,
    fixed_ips: String,
    antivirus: String,
    fixed_accounts: String,
    #[serde(skip)]
    suitability: Option<(Suitability, String)>,
    pub(super) monthly_cost: Option<f64>,
}

impl From<AssessedMachine> for Row {
    fn from(machine: AssessedMachine) -> Self {
        Self {
            name: machine.name,
            os: machine.operating_system,
            boot: machine.boot,
            suitability: Some((machine.suitability, machine.explanation)),
            monthly_cost: machine.monthly_cost,
            ..Self::default()
        }
    }
}

/// Rows of an inventory. The column `name` is needed; others may be missing, and are unknown then.
pub(super) fn from_csv(text: &str) -> Result<Vec<Row>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| error.to_string())?;
    if !headers.iter().any(|header| header == "name") {
        return Err("it has no column `name`".to_owned());
    }
    reader.deserialize().collect::<Result<_, csv::Error>>().map_err(|error| error.to_string())
}

fn said(cell: &str) -> Answer {
    match cell.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" => Answer::Yes,
        "no" | "false" => Answer::No,
        _ => Answer::Unknown,
    }
}

impl Row {
    /// Every finding of the table with its answer and, for a yes, why.
    pub(super) fn findings(&self) -> Vec<(Finding, Answer, String)> {
        let (os, why) = self.os();
        let boot = match self.boot.to_ascii_lowercase().as_str() {
            "bios" => Answer::Yes,
            "uefi" | "efi" => Answer::No,
            _ => Answer::Unknown,
        };
        let driver = self.nic_driver.to_ascii_lowercase();
        let nic = match driver.as_str() {
            "" => Answer::Unknown,
            _ if ["e1000", "vlance", "pcnet"].iter().any(|old| driver.starts_with(old)) => {
                Answer::Yes
            }
            _ => Answer::No,
        };
        let plain = |finding, cell: &str, why: &str| (finding, said(cell), why.to_owned());
        vec![
            (Finding::UnsupportedOs, os, why),
            (Finding::LegacyBoot, boot, "it boots by BIOS".to_owned()),
            (Finding::LegacyNic, nic, self.nic_driver.clone()),
            plain(Finding::LocalFiles, &self.local_files, "the application writes to its own disk"),
            plain(Finding::FixedIps, &self.fixed_ips, "addresses are written into it"),
            plain(Finding::HostAntivirus, &self.antivirus, "an antivirus runs on the host"),
            plain(Finding::FixedAccounts, &self.fixed_accounts, "accounts are written into it"),
        ]
    }

    /// The assessment's word where there is one, else the table of versions.
    fn os(&self) -> (Answer, String) {
        match &self.suitability {
            Some((Suitability::Suitable, _)) => (Answer::No, String::new()),
            Some((Suitability::NotSuitable | Suitability::Conditionally, why)) => {
                (Answer::Yes, why.clone())
            }
            Some((Suitability::Unknown, _)) => (Answer::Unknown, String::new()),
            None => (supported(&self.os), self.os.clone()),
        }
    }
}

/// First supported version by the family that a name begins with.
const FAMILIES: [(&str, f64); 9] = [
    ("windows server", 2016.0),
    ("windows", 10.0),
    ("red hat enterprise linux", 7.0),
    ("rhel", 7.0),
    ("centos", 7.0),
    ("ubuntu", 18.04),
    ("suse linux enterprise server", 12.0),
    ("sles", 12.0),
    ("debian", 10.0),
];

/// Whether an operating system is unsupported: `Ubuntu 16.04` is, `Windows Server 2019 Datacenter` is not.
fn supported(os: &str) -> Answer {
    let os = os.trim().to_ascii_lowercase();
    let os = os.strip_prefix("microsoft ").unwrap_or(&os);
    let Some((rest, first)) =
        FAMILIES.iter().find_map(|(family, first)| Some((os.strip_prefix(family)?, *first)))
    else {
        return Answer::Unknown;
    };
    let version = rest.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let version =
        version.filter(|it| !it.is_empty()).find_map(|it| it.trim_matches('.').parse::<f64>().ok());
    match version {
        Some(version) if version < first => Answer::Yes,
        Some(_) => Answer::No,
        None => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart_and_what_nobody_knows_is_unknown() {
        for old in [
            "Windows Server 2012 R2 Standard",
            "Microsoft Windows Server 2008",
            "Ubuntu 16.04",
            "CentOS 6",
            "RHEL 6.10",
            "Windows 7",
        ] {
            assert_eq!(supported(old), Answer::Yes, "{old}");
        }
        for new in [
            "Windows Server 2019 Datacenter",
            "Ubuntu 22.04 LTS",
            "Debian 12",
            "SLES 15",
            "Red Hat Enterprise Linux 9",
        ] {
            assert_eq!(supported(new), Answer::No, "{new}");
        }
        for odd in ["", "AIX 7", "Ubuntu", "Windows Server"] {
            assert_eq!(supported(odd), Answer::Unknown, "{odd}");
        }
    }

    #[test]
    fn a_cell_that_is_not_there_is_unknown_and_never_no() {
        let rows = from_csv("name,os,nic_driver\nweb,Ubuntu 22.04,vmxnet3\n").expect("rows");
        let open =
            rows[0].findings().into_iter().filter(|it| it.1 == Answer::Unknown).map(|it| it.0);
        assert_eq!(open.count(), 5);
        assert_eq!(rows[0].monthly_cost, None);
        assert!(from_csv("server\nweb\n").is_err());
    }
}
