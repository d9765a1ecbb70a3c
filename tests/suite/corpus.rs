//! The scripts that reading is tested on: those of `tests/scripts`, and the example's. Knows nothing of what is read in
//! them.

use std::path::{Path, PathBuf};

/// A script.
pub(crate) struct Script {
    /// Its file and its title there.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// All of them, in the same order every time.
pub(crate) fn scripts() -> Vec<Script> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = home.join("../examples/diagnostic");
    let mut all: Vec<Script> = files(&home.join("scripts")).iter().flat_map(|file| of(file)).collect();
    for file in files(&example).into_iter().chain(files(&example.join("checks"))) {
        let text = read(&file);
        // As bq-run and bq-check do, with names of no consequence.
        let text = text.replace("${before:", "${").replace("${", "").replace('}', "");
        let name = format!("example: {}", base(&file));
        all.push(Script { name, text });
    }
    all
}

/// The scripts of a file: each stands below a line of `==== its title`.
fn of(file: &Path) -> Vec<Script> {
    let text = format!("\n{}", read(file));
    let one = |part: &str| {
        let (title, text) = part.split_once('\n').unwrap_or_else(|| panic!("{part}: no script"));
        Script {
            name: format!("{}: {title}", base(file)),
            text: text.to_owned(),
        }
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    text.split("\n==== ").skip(1).map(one).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .collect();
    found.sort();
    found
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn base(file: &Path) -> String {
    file.file_stem()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
