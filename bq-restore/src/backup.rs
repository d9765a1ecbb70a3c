//! `--from backup`: the files that tables may be put back from, told to the person, and one of them loaded beside the live table. Which
//! files there are and what is in them is bqlib's `backup` to say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use bqlib::api::{LoadJob, Media};
use bqlib::backup::{self, Backup, Format, Header};
use bqlib::clock::later;
use bqlib::exit::{Exit, Failure};
use bqlib::names::TableRef;
use bqlib::perform::{Ended, Held, of_job_error, taken};
use bqlib::plan::restore::Planned;
use bqlib::plan::{Back, Source, Way};
use bqlib::progress::Bars;
use bqlib::record::Restore;
use bqlib::sql;
use bqlib::state::Step;
use bqlib::tool::Tool;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::stage::{Beside, STAGED_FOR, is_done, is_over, unstage};

/// Where tables are restored from, if not from snapshots.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    /// Files named after the tables.
    Backup,
}

/// Flags of restoring from files.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Restore from another source than snapshots: `backup`, files named after the tables (CSV, JSON lines, Avro, Parquet)
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["undo", "pending", "list"])]
    from: Option<From>,
    /// Look for those files below this directory too [env: BACKUP_DIR, ARCHIVE_DIR]; repeatable
    #[arg(long, value_name = "DIR", requires = "from")]
    backup_dir: Vec<PathBuf>,
}

impl Flags {
    /// The directories that files are looked for in; none: tables are restored from snapshots.
    pub(crate) fn directories(&self, t: &Tool) -> Result<Vec<PathBuf>, Failure> {
        let Some(From::Backup) = self.from else {
            return Ok(Vec::new());
        };
        let named = self.backup_dir.iter().map(|dir| ("--backup-dir", dir.clone()));
        let set = ["BACKUP_DIR", "ARCHIVE_DIR"].into_iter();
        let set = set.filter_map(|name| Some((name, PathBuf::from(t.env(name)?))));
        let mut directories = Vec::new();
        for (said, directory) in named.chain(set) {
            if !directory.is_dir() {
                let what = format!("`{}` is no directory", directory.display());
                return Err(Failure::usage(what, said, "name the directory that holds the files"));
            }
            directories.push(directory);
        }
        if directories.is_empty() {
            let hint = "say --backup-dir DIR, or set BACKUP_DIR or ARCHIVE_DIR";
            return Err(Failure::usage("no directory of files is named", "--from backup", hint));
        }
        Ok(directories)
    }
}

/// How many of a table's backups are tried: their numbers stay apart from those of tables that are shaped anew.
const TRIED: usize = 20;
/// How many files an export may have: the numbers of one table's parts stay apart from those of the next.
const PARTS: usize = 10_000;

/// The files that the tables of a run may be put back from.
pub(crate) struct Backups {
    of: BTreeMap<TableRef, Vec<Backup>>,
    bars: Bars,
}

impl Backups {
    /// None: nothing is put back from files.
    pub(crate) fn none(t: &Tool) -> Backups {
        Backups {
            of: BTreeMap::new(),
            bars: t.bars(),
        }
    }

    /// Finds and tells the files of the tables that need one; or why a table cannot be put back from any.
    pub(crate) fn find(
        t: &Tool,
        held: &Held<'_>,
        directories: &[PathBuf],
        plans: &[Planned],
    ) -> Result<Backups, Vec<Failure>> {
        let needed: Vec<&Planned> = plans.iter().filter(|planned| is_from_file(planned)).collect();
        let bars = t.bars();
        if needed.is_empty() {
            return Ok(Backups {
                of: BTreeMap::new(),
                bars,
            });
        }
        // Also the tables that nothing is done about: their files are not those of a table of a shorter name.
        let tables: Vec<TableRef> = held.run().tables.keys().cloned().collect();
        let mut found = backup::find(directories, &tables).map_err(|(path, e)| {
            let hint = "mend its rights, or name another directory";
            vec![Failure::usage(e.to_string(), path.display().to_string(), hint)]
        })?;
        let looked_in: Vec<String> = directories.iter().map(|dir| dir.display().to_string()).collect();
        let looked_in = looked_in.join(", ");
        for why in &found.left {
            t.tell(&format!("not used: {why}"));
        }
        let mut failed = Vec::new();
        for planned in needed {
            let table = &planned.snapshot.table;
            let at = format!("table {table}");
            let columns = planned
                .snapshot
                .meta
                .as_ref()
                .map_or(0, |meta| meta.column_names().len());
            let refused = match found.of.get_mut(table) {
                _ if columns == 0 => Failure::refused(
                    format!("the journal does not say which columns `{table}` had, and no file says it for certain"),
                    at,
                    "restore it from its snapshot, or load the file by hand",
                ),
                None => Failure::refused(
                    format!("there is no file of `{table}` in {looked_in}"),
                    at,
                    format!(
                        "name the directory that holds {0}.csv, {0}_20260131.jsonl.gz or the like: --backup-dir DIR",
                        table.table
                    ),
                ),
                Some(backups) => {
                    backups.truncate(TRIED);
                    t.tell(&format!("files of {table}, in the order they are tried:"));
                    backups.iter().for_each(|backup| t.tell(&told(backup)));
                    continue;
                }
            };
            failed.push(refused.about(table));
        }
        match failed.is_empty() {
            true => Ok(Backups { of: found.of, bars }),
            false => Err(failed),
        }
    }

    /// The backups of a table, the best first.
    pub(crate) fn of(&self, table: &TableRef) -> &[Backup] {
        self.of.get(table).map_or(&[], Vec::as_slice)
    }

    /// The record of a table that would be put back, with the files that it would be put back from.
    pub(crate) fn would_be(&self, planned: &Planned, record: Restore) -> Restore {
        let backups = self.of(&planned.snapshot.table);
        let Some(first) = backups.first().filter(|_| is_from_file(planned)) else {
            return record;
        };
        let files: Vec<String> = backups.iter().map(|backup| told(backup).trim().to_owned()).collect();
        Restore {
            source: Some(first.name()),
            how: record.how.map(|how| format!("{how}; files: {}", files.join("; "))),
            ..record
        }
    }
}

fn is_from_file(planned: &Planned) -> bool {
    let from_file = |back: &Back| back.source == Source::Backup;
    matches!(&planned.way, Way::Restore(back) if from_file(back))
}

/// A backup in one line: its file, how large, of when, how many rows.
fn told(backup: &Backup) -> String {
    let look = |path| backup::look(path, backup.format, backup.gzip);
    let records: Option<u64> = backup.files.iter().map(|path| look(path).ok()?.records).sum();
    let rows = match (records, backup.format) {
        (None, _) => String::new(),
        // Whether the first is a header is told when it is loaded.
        (Some(records), Format::Csv) => format!(", {records} records with its header"),
        (Some(records), _) => format!(", {records} rows"),
    };
    let doubt = if backup.doubtful {
        ", perhaps of another table"
    } else {
        ""
    };
    let made = backup.made.strftime("%Y-%m-%d %H:%M:%SZ");
    format!("  {}  {} bytes, {made}{rows}{doubt}", backup.name(), backup.bytes)
}

impl Beside<'_, '_> {
    /// Loads a backup, all of its files, into a new table of this name: or why it is none of this table's.
    pub(crate) async fn load(
        &self,
        files: &Backups,
        backup: &Backup,
        name: &TableRef,
    ) -> Result<Result<(), String>, Failure> {
        let before = self.task.before;
        if let Some(why) = backup::cannot_hold(backup.format, before) {
            return Ok(Err(why));
        }
        if backup.files.len() > PARTS {
            return Ok(Err(format!("it has more than {PARTS} files")));
        }
        let mut parts = Vec::new();
        for (part, path) in (0..).zip(&backup.files) {
            self.t.go_on("run the same command again")?;
            match self.part(files, backup, path.clone(), part).await? {
                Ok(part) => parts.push(part),
                Err(why) => {
                    let which = match backup.files.len() {
                        1 => String::new(),
                        _ => format!("{}: ", path.display()),
                    };
                    return Ok(Err(format!("{which}{why}")));
                }
            }
        }
        if !self.may_go_on(&parts, name).await? {
            for part in &parts {
                self.held.give_up(self.api, part.step, self.task.table).await?;
            }
            unstage(self.api, self.held, self.task.table, self.location, self.number, name).await?;
            // What was loaded into the table that is gone is loaded again.
            for part in &mut parts {
                part.is_there = false;
            }
        }
        for part in parts.iter().filter(|part| !part.is_there) {
            self.t.go_on("run the same command again")?;
            if let Err(why) = self.load_part(part, name).await? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }

    /// What is to be known of one file before it is sent.
    async fn part(
        &self,
        files: &Backups,
        backup: &Backup,
        path: PathBuf,
        part: u32,
    ) -> Result<Result<Part, String>, Failure> {
        let (format, gzip) = (backup.format, backup.gzip);
        let told = path.display().to_string();
        let examined = backup::examine(path.clone(), format, gzip);
        let (sized, looked) = match self.api.unless_stopped(examined).await {
            Ok(Ok(read)) => read,
            Ok(Err(e)) => return Ok(Err(e.to_string())),
            Err(_) => {
                self.t.go_on("run the same command again")?;
                return Ok(Err("it was not read".to_owned()));
            }
        };
        if let Some(why) = looked.unfit {
            return Ok(Err(why));
        }
        let before = self.task.before;
        let header = match format {
            Format::Csv => backup::header(looked.first.as_deref(), &before.column_names()),
            _ => Header::No,
        };
        if let Header::Another(why) = header {
            return Ok(Err(why));
        }
        let what = json!({
            "load": told, "bytes": sized.bytes, "sha256": sized.sha256, "to": self.name(self.number)?, "part": part,
        });
        let step = match part {
            0 => Step::Stage(self.number),
            _ => Step::Part(self.number * PARTS as u32 + part),
        };
        let is_there = {
            let run = self.held.run();
            let progress = run.step(step, self.task.table);
            progress.is_some_and(|p| is_done(p) && p.intent.what.as_ref() == Some(&what))
        };
        let file = Media {
            progress: Rc::new(files.bars.of_bytes(told, sized.bytes)),
            path,
            bytes: sized.bytes,
            modified: sized.modified,
            sha256: sized.sha256,
        };
        let mut settings = backup::settings(format, &header, before);
        if part == 0 {
            // A table without them would be nobody's, were this cut short before it is given its end.
            let labels = json!({ "labels": sql::staged_labels(&self.held.id()) });
            settings.insert("destinationTableProperties".to_owned(), labels);
        }
        Ok(Ok(Part {
            step,
            what,
            file,
            settings,
            first: part == 0,
            is_there,
        }))
    }

    /// Whether an earlier attempt made the table and loaded nothing into it but these files: then what is missing is added.
    async fn may_go_on(&self, parts: &[Part], name: &TableRef) -> Result<bool, Failure> {
        if self.read(name).await?.is_none() {
            return Ok(false);
        }
        let run = self.held.run();
        let begun = run.step(Step::Stage(self.number), self.task.table).is_some();
        let own = |part: &Part| {
            let progress = run.step(part.step, self.task.table);
            progress.is_none_or(|progress| progress.intent.what.as_ref() == Some(&part.what))
        };
        Ok(begun && parts.iter().all(own))
    }

    async fn load_part(&self, part: &Part, name: &TableRef) -> Result<Result<(), String>, Failure> {
        let (held, table) = (self.held, self.task.table);
        let make = |id| LoadJob {
            id,
            location: self.location.cloned(),
            to: name.clone(),
            settings: part.settings.clone(),
            first: part.first,
            file: part.file.clone(),
            labels: held.labels(),
        };
        match held.load(self.api, part.step, table, &part.what, make).await? {
            Ended::Done(_) => {
                if part.first {
                    // A load job gives no table an end.
                    let expires = later(self.api.now(), STAGED_FOR).as_millisecond().to_string();
                    let body = json!({ "labels": sql::staged_labels(&held.id()), "expirationTime": expires });
                    held.patch(self.api, part.step, name, &body).await?;
                }
                Ok(Ok(()))
            }
            Ended::Failed(e) if is_over(&e.reason) || matches!(e.reason.as_str(), "notRead" | "duplicate") => {
                Ok(Err(format!("{} ({})", e.message, e.reason)))
            }
            Ended::Failed(e) => {
                let doing = format!("loading {}", part.file.path.display());
                Err(of_job_error(&e, &doing, &format!("table {table}")).about(table))
            }
            Ended::Taken(job) => Err(taken(&job).about(table)),
        }
    }

    /// Says what no comparison can: a file may be of another day.
    pub(crate) fn warn_of_contents(&self, backup: &Backup) {
        let table = self.task.table;
        let made = backup.made.strftime("%Y-%m-%d %H:%M:%SZ");
        let what = format!(
            "`{table}` is restored from a file of {made}: its rows are counted and its columns and layout compared, and what is in the rows is what the file has"
        );
        let hint = "look at the rows; what was there before is kept";
        self.t
            .warn(&Failure::new(Exit::Ok, what, backup.name(), hint).about(table));
    }
}

/// One file of a backup, about to be loaded.
struct Part {
    step: Step,
    /// What tells this load from that of another file, in the journal.
    what: Value,
    file: Media,
    settings: Map<String, Value>,
    first: bool,
    /// Whether an earlier attempt has loaded it.
    is_there: bool,
}
