//! Walks directories and gathers what may be backups of tables, each table's newest first. Opens no file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use walkdir::WalkDir;

use super::name::{self, Format, Part};
use crate::names::TableRef;

/// How far below a directory files are looked for: backups lie by year, month, day, dataset and table.
const DEEPEST: usize = 8;

/// One backup of a table: a file, or the files of one export.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// Its files, in their order.
    pub files: Vec<PathBuf>,
    /// How they hold their rows.
    pub format: Format,
    /// Whether they are compressed.
    pub gzip: bool,
    /// All their bytes.
    pub bytes: u64,
    /// When it was made: by the date in its name, else by when the youngest of its files was last written.
    pub made: Timestamp,
    /// Whether its name goes on in a way that another table's may: such a one is tried after the others.
    pub doubtful: bool,
}

impl Backup {
    /// Its name for people and records.
    pub fn name(&self) -> String {
        let first = self
            .files
            .first()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        match self.files.len() {
            0 | 1 => first,
            many => format!("{first} and {} more", many - 1),
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The backups of each table, the best first: those whose name leaves no doubt, the newest first.
    pub of: BTreeMap<TableRef, Vec<Backup>>,
    /// What was left aside, and why.
    pub left: Vec<String>,
}

/// A file that may be a part of a backup.
struct Piece {
    part: Option<Part>,
    path: PathBuf,
    bytes: u64,
    written: Timestamp,
}

/// What pieces of one backup have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Whole {
    table: TableRef,
    folder: PathBuf,
    stem: String,
    rest: String,
    format: Format,
    gzip: bool,
    // Two files of one name and two endings are two backups.
    ending: Option<String>,
}

/// Finds the backups of these tables, which are all that a run protects: a file is of the one whose name is the longest that fits.
///
/// Folders are looked into eight deep; hidden ones, and links to folders, are not. A link to a file counts if it stays in its directory.
///
/// # Errors
/// A directory that cannot be read.
pub fn find(directories: &[PathBuf], tables: &[TableRef]) -> Result<Found, (PathBuf, io::Error)> {
    let mut found = Found::default();
    let mut wholes: BTreeMap<Whole, Vec<Piece>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for directory in directories {
        let root = directory.canonicalize().map_err(|e| (directory.clone(), e))?;
        let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
        let walk = WalkDir::new(&root).max_depth(DEEPEST).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    let path = e.path().unwrap_or(&root).to_owned();
                    found.left.push(format!("{}: {e}", path.display()));
                    continue;
                }
            };
            if let Some((whole, piece)) = piece(&root, &entry, tables, &mut seen, &mut found.left) {
                wholes.entry(whole).or_default().push(piece);
            }
        }
    }
    for (whole, pieces) in wholes {
        match gathered(&whole, pieces) {
            Ok(backup) => found.of.entry(whole.table).or_default().push(backup),
            Err(why) => found.left.push(why),
        }
    }
    for backups in found.of.values_mut() {
        backups.sort_by(|a, b| (a.doubtful, b.made, &a.files).cmp(&(b.doubtful, a.made, &b.files)));
    }
    Ok(found)
}

/// What a file is of a backup of one of the tables, if it is.
fn piece(
    root: &Path,
    entry: &walkdir::DirEntry,
    tables: &[TableRef],
    seen: &mut BTreeSet<PathBuf>,
    left: &mut Vec<String>,
) -> Option<(Whole, Piece)> {
    if entry.file_type().is_dir() {
        return None;
    }
    let path = entry.path();
    let name = name::read(path.file_name()?.to_str()?)?;
    let folder = path.parent()?;
    // `orders/000000000000.csv`: the folder is what has the table's name.
    let stem = match name.stem {
        "" => folder.file_name()?.to_str()?,
        stem => stem,
    };
    let below = folder.strip_prefix(root).ok()?;
    let folders: Vec<&str> = below.iter().filter_map(|part| part.to_str()).collect();
    let (table, rest) = match owner(stem, &folders, tables) {
        Owner::None => return None,
        Owner::One(table, rest) => (table.clone(), rest.to_owned()),
        Owner::Unclear(why) => {
            left.push(format!("{}: {why}", path.display()));
            return None;
        }
    };
    let real = path.canonicalize().ok();
    let Some(real) = real.filter(|real| real.starts_with(root)) else {
        left.push(format!(
            "{}: it is a link that leads out of the directory, or nowhere",
            path.display()
        ));
        return None;
    };
    let about = std::fs::metadata(&real).ok().filter(std::fs::Metadata::is_file)?;
    if !seen.insert(real) {
        return None;
    }
    let written = about.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    let whole = Whole {
        table,
        folder: folder.to_owned(),
        stem: stem.to_owned(),
        rest,
        format: name.format,
        gzip: name.gzip,
        ending: name.part.is_none().then(|| path.display().to_string()),
    };
    let piece = Piece {
        part: name.part,
        path: path.to_owned(),
        bytes: about.len(),
        written: written.unwrap_or(Timestamp::UNIX_EPOCH),
    };
    Some((whole, piece))
}

/// Whose a file is.
enum Owner<'t, 'n> {
    None,
    One(&'t TableRef, &'n str),
    Unclear(String),
}

/// The table that a stem in these folders is of: the longest name that fits; among tables of one name that of the dataset which the name
/// or a folder says.
fn owner<'t, 'n>(stem: &'n str, folders: &[&str], tables: &'t [TableRef]) -> Owner<'t, 'n> {
    let mut fits: Vec<_> = tables
        .iter()
        .filter_map(|table| Some((table, name::fit(stem, table)?)))
        .collect();
    let longest = fits.iter().map(|(table, _)| table.table.as_str().len()).max();
    fits.retain(|(table, _)| Some(table.table.as_str().len()) == longest);
    if fits.iter().any(|(_, fit)| fit.qualified) {
        fits.retain(|(_, fit)| fit.qualified);
    } else {
        let says = |table: &TableRef| folders.contains(&table.dataset.as_str());
        if fits.iter().any(|(table, _)| says(table)) {
            fits.retain(|(table, _)| says(table));
        } else if !fits.is_empty() && tables.iter().any(says) {
            return Owner::Unclear("its folder is that of another dataset".to_owned());
        }
    }
    match fits.as_slice() {
        [] => Owner::None,
        [(table, fit)] => Owner::One(table, fit.rest),
        several => {
            let names: Vec<String> = several.iter().map(|(table, _)| table.to_string()).collect();
            let names = names.join(" or ");
            Owner::Unclear(format!(
                "it may be of {names}: call it dataset.table, or put it into a folder of the dataset's name"
            ))
        }
    }
}

/// A backup of its pieces, if none is missing: a part must never pass for the whole.
fn gathered(whole: &Whole, mut pieces: Vec<Piece>) -> Result<Backup, String> {
    pieces.sort_by(|a, b| (a.part, &a.path).cmp(&(b.part, &b.path)));
    let incomplete = |why: String| {
        let first = pieces
            .first()
            .map(|piece| piece.path.display().to_string())
            .unwrap_or_default();
        Err(format!("{first}: its export is not whole: {why}"))
    };
    for (number, piece) in (0..).zip(&pieces) {
        if let Some(part) = piece.part.filter(|part| part.number != number) {
            return incomplete(match part.number < number {
                true => format!("there are two parts {}", part.number),
                false => format!("part {number} is missing"),
            });
        }
    }
    let many = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
    if let Some(of) = pieces.iter().filter_map(|piece| piece.part?.of).find(|of| *of != many) {
        return incomplete(format!("there are {many} parts of {of}"));
    }
    let written = pieces
        .iter()
        .map(|piece| piece.written)
        .max()
        .unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(Backup {
        bytes: pieces.iter().map(|piece| piece.bytes).sum(),
        files: pieces.into_iter().map(|piece| piece.path).collect(),
        format: whole.format,
        gzip: whole.gzip,
        // A copy of a file is younger than what is in it.
        made: name::made_at(&whole.rest).unwrap_or(written),
        doubtful: name::is_doubtful(&whole.rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    struct Place(tempfile::TempDir);

    impl Place {
        fn with(files: &[&str]) -> Place {
            let place = Place(tempfile::tempdir().unwrap());
            for (age, file) in files.iter().enumerate() {
                let path = place.0.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let made = fs::File::create(&path).unwrap();
                let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - 60 * age as u64);
                made.set_modified(written).unwrap();
            }
            place
        }

        fn find(&self, tables: &[&str]) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
            let tables: Vec<TableRef> = tables.iter().map(|t| TableRef::parse(t, None).unwrap()).collect();
            let found = find(&[self.0.path().to_owned()], &tables).unwrap();
            let root = self.0.path().canonicalize().unwrap();
            let short = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
            let of = found.of.iter().map(|(table, backups)| {
                let names = backups
                    .iter()
                    .map(|b| b.files.iter().map(short).collect::<Vec<_>>().join("+"));
                (format!("{}.{}", table.dataset, table.table), names.collect())
            });
            let left = found
                .left
                .iter()
                .map(|why| why.replace(&format!("{}/", root.display()), ""));
            (of.collect(), left.collect())
        }
    }

    #[test]
    fn the_longest_name_has_the_file() {
        let place = Place::with(&[
            "orders_items.csv",
            "orders.csv",
            "sub/orders_items_2020.avro",
            "other.csv",
            "orders.txt",
        ]);
        let (of, left) = place.find(&["p.d.orders", "p.d.orders_items"]);
        assert_eq!(of["d.orders"], ["orders.csv"]);
        assert_eq!(of["d.orders_items"], ["orders_items.csv", "sub/orders_items_2020.avro"]);
        assert!(left.is_empty(), "{left:?}");
        // Where the longer name is none of the run's, the file is tried, but last.
        let (of, _) = place.find(&["p.d.orders"]);
        assert_eq!(
            of["d.orders"],
            ["orders.csv", "orders_items.csv", "sub/orders_items_2020.avro"]
        );
    }

    #[test]
    fn the_newest_is_first_by_the_date_in_its_name_or_its_own() {
        let place = Place::with(&["t.csv", "t_20300101.jsonl.gz", "t-2020-01-01.parquet", "t.avro"]);
        let (of, _) = place.find(&["p.d.t"]);
        assert_eq!(
            of["d.t"],
            ["t_20300101.jsonl.gz", "t.csv", "t.avro", "t-2020-01-01.parquet"]
        );
    }

    #[test]
    fn the_dataset_is_told_by_the_name_or_a_folder() {
        let place = Place::with(&["a.t.csv", "b/2026/t.csv", "t.csv", "c/only.csv", "a/only_1.csv"]);
        let (of, left) = place.find(&["p.a.t", "p.b.t", "p.c.only"]);
        assert_eq!(of["a.t"], ["a.t.csv"]);
        assert_eq!(of["b.t"], ["b/2026/t.csv"]);
        assert_eq!(of["c.only"], ["c/only.csv"]);
        assert_eq!(
            left,
            [
                "a/only_1.csv: its folder is that of another dataset",
                "t.csv: it may be of p.a.t or p.b.t: call it dataset.table, or put it into a folder of the dataset's name"
            ]
        );
    }

    #[test]
    fn an_export_is_whole_or_none() {
        let place = Place::with(&[
            "t-000000000001.csv",
            "t-000000000000.csv",
            "u-000000000000.csv",
            "u-000000000002.csv",
            "v-00000-of-00002.avro",
            "w/000000000000.parquet",
            "w/000000000001.parquet",
        ]);
        let (of, left) = place.find(&["p.d.t", "p.d.u", "p.d.v", "p.d.w"]);
        assert_eq!(of["d.t"], ["t-000000000000.csv+t-000000000001.csv"]);
        assert_eq!(of["d.w"], ["w/000000000000.parquet+w/000000000001.parquet"]);
        assert_eq!(of.len(), 2);
        assert_eq!(
            left,
            [
                "u-000000000000.csv: its export is not whole: part 1 is missing",
                "v-00000-of-00002.avro: its export is not whole: there are 1 parts of 2"
            ]
        );
    }

    #[test]
    fn links_stay_in_their_directory() {
        let place = Place::with(&["t_1.csv"]);
        let outside = Place::with(&["t_2.csv", "folder/t_3.csv"]);
        let link = |from: PathBuf, name: &str| std::os::unix::fs::symlink(from, place.0.path().join(name)).unwrap();
        link(outside.0.path().join("t_2.csv"), "t_2.csv");
        link(outside.0.path().join("folder"), "folder");
        link(place.0.path().join("t_1.csv"), "t_latest.csv");
        link(place.0.path().to_owned(), "round");
        let (of, left) = place.find(&["p.d.t"]);
        assert_eq!(of["d.t"], ["t_1.csv"]);
        assert_eq!(
            left,
            ["t_2.csv: it is a link that leads out of the directory, or nowhere"]
        );
    }

    #[test]
    fn hidden_folders_and_missing_directories_are_not_looked_into() {
        let place = Place::with(&[".rollback/t.jsonl", "t.csv"]);
        assert_eq!(place.find(&["p.d.t"]).0["d.t"], ["t.csv"]);
        let missing = place.0.path().join("missing");
        assert_eq!(find(std::slice::from_ref(&missing), &[]).unwrap_err().0, missing);
    }
}
