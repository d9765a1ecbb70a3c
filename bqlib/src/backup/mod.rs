//! Files of backup: which are of which table (`name`, pure; `find` walks the directories), what is in them as far as that is cheap
//! (`look`), and how BigQuery is to read them (`settings`, pure). Knows no run, no journal and no network.

mod find;
mod look;
mod name;
mod settings;

pub use find::{Backup, Found, find};
pub use look::{Examined, Looked, examine, look};
pub use name::Format;
pub use settings::{Header, cannot_hold, header, settings};
