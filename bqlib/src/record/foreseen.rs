//! The wire: what bq-run foresaw of a file of the migration, and what of the rest nobody had foreseen.

use serde::{Deserialize, Serialize};

/// A file of the migration as it was foreseen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Foreseen {
    /// How many of the statements that need validation were validated, in whole percent, rounded down; absent: none was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<u64>,
    /// How many those were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validated: Option<u64>,
    /// Each statement of the file, those in blocks too.
    #[serde(default)]
    pub statements: Vec<ForeseenStatement>,
    /// Bytes to process, as BigQuery estimates them now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// True: it may be more: a loop runs what it will, and of some statements it is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// What that is about to cost on demand, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// At so many US dollars a TiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_tib: Option<f64>,
    /// What it writes, replaces or drops and is protected or was allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
    /// What it makes and does not exist yet, temporary things apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new: Vec<String>,
    /// What it does that no rollback undoes: `statement 3: EXPORT DATA`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub irreversible: Vec<String>,
    /// The statements of which is not known what they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opaque: Vec<String>,
    /// Known traps that it walks into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traps: Vec<String>,
}

/// One statement of a file as it was foreseen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeseenStatement {
    /// Its place in the file, from 1; a block counts, and stands before what stands in it.
    pub number: u32,
    /// The line of the user's file, from 1.
    pub line: u32,
    /// And the column.
    pub column: u32,
    /// Its kind, in the words of BigQuery's `statementType` where it has one.
    pub kind: String,
    /// True: it may run not at all, or many times.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conditional: bool,
    /// What it does to things that outlive the script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<ForeseenEffect>,
    /// `validated`, `not_knowable`, `wrong`, `no_need`; absent: it was not asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<ForeseenVerdict>,
    /// Why it is not known, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Bytes to process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// How a statement stands before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeseenVerdict {
    /// BigQuery finds nothing wrong.
    Validated,
    /// It cannot be known before the script runs.
    NotKnowable,
    /// BigQuery finds it wrong.
    Wrong,
    /// There is nothing to validate.
    NoNeed,
}

/// What a statement does to one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeseenEffect {
    /// `creates`, `replaces`, `writes`, `drops`, `beyond`.
    pub deed: String,
    /// `table`, `routine`, `model`, `dataset`, `thing`.
    pub object: String,
    /// Its name, in full where it is known.
    pub name: String,
    /// `protected`, `allowed`, `new`, `there`, `outside`, `snapshot`, `irreversible`, `opaque`, `unguarded`.
    pub standing: String,
}
