//! `--param` reads what `bq query --parameter` reads: a list of flags, and of each what Google's own command makes of it.
//!
//! The list says what `bq` answers, and where ours differ, how and why. Where `bq` is installed it is asked whether the list is true.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bqlib::params::parse;
use serde_json::{Value, json};

use crate::scene::{helper, python, say};

/// Of each flag: `flag`, `bq` (the API's form, or null where it refuses), and where ours differ `ours` and `why`.
fn list() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("parameters/flags.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn flag(entry: &Value) -> &str {
    entry["flag"].as_str().unwrap()
}

/// What `bq` sends, its numbers and booleans as the strings that the API takes for them.
fn in_strings(sent: &Value) -> Value {
    match sent {
        Value::Object(parts) => {
            let parts = parts.iter().map(|(key, part)| match part {
                Value::Number(_) | Value::Bool(_) if key == "value" => (key.clone(), json!(part.to_string())),
                part => (key.clone(), in_strings(part)),
            });
            parts.collect()
        }
        Value::Array(list) => list.iter().map(in_strings).collect(),
        other => other.clone(),
    }
}

#[test]
fn parameters_are_read_as_bq_reads_them() {
    let (mut equal, mut different, mut refused) = (0, 0, 0);
    for entry in list() {
        let flag = flag(&entry);
        let ours = parse(flag).unwrap_or(Value::Null);
        let theirs = in_strings(&entry["bq"]);
        refused += usize::from(ours.is_null());
        match entry.get("why") {
            None => {
                assert_eq!(ours, theirs, "{flag:?}");
                equal += 1;
            }
            Some(why) => {
                assert!(
                    why.as_str().is_some_and(|why| why.len() > 10),
                    "{flag:?} says no reason"
                );
                assert_eq!(ours, entry["ours"], "{flag:?}");
                assert_ne!(ours, theirs, "{flag:?} is not read differently: {why}");
                different += 1;
            }
        }
    }
    say(&format!(
        "parameters: {} flags, {equal} read as `bq` reads them, {different} differently for a reason; {refused} refused",
        equal + different
    ));
    assert!(equal >= 60 && refused >= 20);
}

#[test]
fn the_list_says_what_bq_answers() {
    let Some(platform) = code_of_bq() else {
        say("parameters: `bq` is not installed here; its answers are those of the list");
        return;
    };
    let list = list();
    let flags: Vec<&str> = list.iter().map(flag).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, &flags).unwrap();
    let output = Command::new(python())
        .arg(helper("parameters.py"))
        .args([&platform, file.path()])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "parameters.py: {stderr}");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), list.len());
    for (entry, answer) in list.iter().zip(answers) {
        assert_eq!(entry["bq"], answer, "{:?}", flag(entry));
    }
}

/// Where the code of the `bq` command is, if that is installed.
fn code_of_bq() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let command = std::env::split_paths(&path)
        .map(|folder| folder.join("bq"))
        .find(|bq| bq.is_file())?;
    let platform = fs::canonicalize(command).ok()?.parent()?.parent()?.join("platform/bq");
    platform.join("frontend/utils.py").is_file().then_some(platform)
}
