//! Scripts are read as Google's own parser reads them: the same statements, of the same kinds, with the same targets.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use bqlib::script::{Deed, Kind, Statement, Unclosed, read};
use serde::Deserialize;

use crate::corpus::{Script, scripts};
use crate::scene::{helper, python, say};
use crate::sql::one_parser_at_a_time;

/// A statement: where it begins and ends, its kind, the names of what it does something to.
type Told = (usize, usize, String, Vec<String>);

/// What Google's parser says of a script.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Google {
    Read { statements: Vec<Told> },
    Refused { error: String, at: Option<usize> },
}

fn google(texts: &[&str]) -> Vec<Google> {
    let _one = one_parser_at_a_time();
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, texts).unwrap();
    let output = Command::new(python())
        .arg(helper("scripts.py"))
        .arg(file.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts.py: {stderr}");
    let answers: Vec<Google> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), texts.len());
    answers
}

fn told(statement: &Statement) -> Told {
    // What is exported has no name, and neither have settings of a whole organization.
    let names = statement.effects.iter().filter_map(|effect| effect.name.as_ref());
    let mut names: Vec<String> = names.map(ToString::to_string).collect();
    names.sort();
    let range = &statement.range;
    (range.start, range.end, statement.kind.to_string(), names)
}

/// What is opaque here though Google's parser knows it: nothing that BigQuery documents.
const UNKNOWN: [&str; 2] = ["Hinted", "Explain"];

/// How a script is read that Google's parser refuses. Only those of `odd.sql` may be.
fn refused(script: &Script, error: &str, at: Option<usize>, ours: &Result<Vec<Statement>, Unclosed>) -> &'static str {
    let Script { name, text } = script;
    assert!(name.starts_with("odd: "), "{name}: {error}\n{text}");
    match ours {
        Err(open) => {
            assert!(error.contains("Unclosed"), "{name}: {open:?}, but {error}");
            assert_eq!(Some(open.start), at, "{name}: {error}");
            "unclosed"
        }
        Ok(_) if error.contains("Unclosed") => panic!("{name}: {error}\n{text}"),
        Ok(statements) if statements.iter().any(|one| one.kind == Kind::Opaque) => "opaque",
        // There is no grammar of expressions here.
        Ok(_) => "read",
    }
}

#[test]
fn scripts_are_read_as_googles_parser_reads_them() {
    let scripts = scripts();
    assert!(scripts.len() >= 200, "{}", scripts.len());
    let texts: Vec<&str> = scripts.iter().map(|script| script.text.as_str()).collect();
    let (mut agreed, mut statements, mut wrong) = (0, 0, Vec::new());
    let mut apart: Vec<String> = Vec::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (script, google) in scripts.iter().zip(google(&texts)) {
        let ours = read(&script.text);
        match google {
            Google::Refused { error, at } => {
                let how = refused(script, &error, at, &ours);
                let reason = error.rsplit("error: ").next().unwrap_or_default();
                apart.push(format!("    {} ({how} here): {reason}", script.name));
            }
            Google::Read { statements: theirs } if theirs.iter().any(|one| UNKNOWN.contains(&one.2.as_str())) => {
                assert!(
                    ours.unwrap().iter().any(|one| one.kind == Kind::Opaque),
                    "{}",
                    script.name
                );
                apart.push(format!("    {} (opaque here): {}", script.name, theirs[0].2));
            }
            Google::Read { statements: theirs } => {
                let ours: Vec<Told> = ours.unwrap_or_default().iter().map(told).collect();
                if ours != theirs {
                    wrong.push(format!(
                        "{}\n{}\n  ours   {ours:?}\n  google {theirs:?}",
                        script.name, script.text
                    ));
                    continue;
                }
                (agreed, statements) = (agreed + 1, statements + ours.len());
                for (.., kind, _) in ours {
                    *kinds.entry(kind).or_default() += 1;
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} scripts are read differently:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    say(&format!(
        "scripts: {agreed} scripts, {statements} statements of {} kinds agree with Google's parser; it cannot read, or not as \
         BigQuery does, {}:\n{}",
        kinds.len(),
        apart.len(),
        apart.join("\n")
    ));
    assert!(agreed >= 200 && apart.len() <= 50, "{agreed} and {}", apart.len());
    // Each kind that there is, but what nobody can read.
    assert!(kinds.len() >= 60, "{kinds:?}");
}

/// What pieces of literals, names and comments make, put behind one another: where Google's parser meets what does not
/// end, it does not end here, and where it does not end here, Google's parser has stopped there or before.
#[test]
fn what_does_not_end_is_what_googles_parser_says_does_not() {
    const SOUP: [&str; 34] = [
        "'", "'", "\"", "\"", "`", "`", "'''", "\"\"\"", "\\", "\\", "r", "b", "rb", "R", "Br", "a", " ", ", ", ", ",
        "\n", "\r", "\r\n", "--", "#", "/*", "*/", "*", "/", ";", "1", "ü", "🦀", ".", "(",
    ];
    const WHOLE: [&str; 12] = [
        "'a', ",
        "\"b\", ",
        "r'\\'', ",
        "'''c\n''', ",
        "`d`, ",
        "1, ",
        "/* e */ ",
        "-- f\n",
        "# g\r",
        "rb\"\\\\\", ",
        "b'\\n', ",
        "a.b, ",
    ];
    let seed = 20_261_123;
    let mut random = fastrand::Rng::with_seed(seed);
    let texts: Vec<String> = (0..4000)
        .map(|_| {
            let mut text = "SELECT ".to_owned();
            for _ in 0..random.usize(0..12) {
                // Mostly what parses, so that Google's parser comes far.
                let pieces: &[&str] = if random.u8(0..4) > 0 { &WHOLE } else { &SOUP };
                text.push_str(random.choice(pieces).copied().unwrap_or_default());
            }
            text
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (mut both, mut neither, mut before) = (0, 0, 0);
    for (text, google) in texts.iter().zip(google(&texts)) {
        let ours = read(text).err();
        let (error, at) = match google {
            Google::Read { .. } => (String::new(), None),
            Google::Refused { error, at } => (error, at),
        };
        match ours {
            Some(open) if error.contains("Unclosed") => {
                assert_eq!(Some(open.start), at, "{text:?}: {error}");
                both += 1;
            }
            Some(open) => {
                assert!(
                    at.is_some_and(|at| at <= open.start),
                    "{text:?}: {open:?}, but {error:?} at {at:?}"
                );
                before += 1;
            }
            None => {
                assert!(!error.contains("Unclosed"), "{text:?}: {error}");
                neither += 1;
            }
        }
    }
    say(&format!(
        "scripts: of {} soups (seed {seed}) {both} do not end at the same byte for both, {neither} end for both, in {before} Google's parser \
         stops before",
        texts.len()
    ));
    assert!(both > 500 && neither > 500, "{both} and {neither}");
}

#[test]
fn what_only_reads_has_no_effect() {
    for script in scripts().iter().filter(|script| script.name.starts_with("queries: ")) {
        for statement in read(&script.text).unwrap() {
            assert_eq!(statement.effects, [], "{}: {}", script.name, script.text);
        }
    }
    let kinds = [
        Kind::Insert,
        Kind::Update,
        Kind::Delete,
        Kind::Merge,
        Kind::Truncate,
        Kind::LoadData,
    ];
    for script in scripts() {
        for statement in read(&script.text).unwrap_or_default() {
            let writes = statement.effects.iter().any(|effect| effect.deed == Deed::Write);
            assert!(
                writes || !kinds.contains(&statement.kind),
                "{}: {}",
                script.name,
                script.text
            );
        }
    }
}
