//! Scripts are read as Google's own parser reads them: the same statements, of the same kinds, with the same targets.

use std::collections::BTreeMap;

use bqlib::script::{Deed, Kind, Statement, Unclosed, read};
use serde::Deserialize;

use crate::corpus::{Script, scripts};
use crate::scene::say;
use crate::sql::ask_google;

/// A statement: where it begins and ends, its kind, what it does to things that have a name (`Replace temp a.b`).
type Told = (usize, usize, String, Vec<String>);

/// What Google's parser says of a script.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Google {
    Read { statements: Vec<Told> },
    Refused { error: String, at: Option<usize> },
}

fn google(texts: &[&str]) -> Vec<Google> {
    let answers: Vec<Google> = ask_google("scripts.py", &texts);
    assert_eq!(answers.len(), texts.len());
    answers
}

fn told(statement: &Statement) -> Told {
    // What is exported has no name, and neither have settings of a whole organization.
    let named = statement
        .effects
        .iter()
        .filter_map(|effect| Some((effect, effect.name.as_ref()?)));
    let told = named.map(|(effect, name)| {
        let temporary = if effect.temporary { "temp " } else { "" };
        format!("{:?} {temporary}{name}", effect.deed)
    });
    let mut names: Vec<String> = told.collect();
    names.sort();
    let range = &statement.range;
    (range.start, range.end, statement.kind.to_string(), names)
}

/// What is opaque here though Google's parser knows it: nothing that BigQuery documents.
const UNKNOWN: [&str; 1] = ["Explain"];

/// How a script is read here.
fn how(ours: &Result<Vec<Statement>, Unclosed>) -> &'static str {
    match ours {
        Err(_) => "unclosed",
        Ok(statements) if statements.iter().any(|one| one.kind == Kind::Opaque) => "opaque",
        // There is no grammar of expressions here.
        Ok(_) => "read",
    }
}

/// Checks a script that Google's parser refuses. Only those of `odd.sql` may be.
fn refused(script: &Script, error: &str, at: Option<usize>, ours: &Result<Vec<Statement>, Unclosed>) {
    let Script { name, text } = script;
    assert!(name.starts_with("odd: "), "{name}: {error}\n{text}");
    let unclosed = ours.as_ref().err();
    assert_eq!(
        unclosed.is_some(),
        error.contains("Unclosed"),
        "{name}: {ours:?}, but {error}"
    );
    assert!(unclosed.is_none_or(|open| Some(open.start) == at), "{name}: {error}");
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
                refused(script, &error, at, &ours);
                let reason = error.rsplit("error: ").next().unwrap_or_default();
                apart.push(format!("    {}: {reason}", script.name));
            }
            Google::Read { statements: theirs } if theirs.iter().any(|one| UNKNOWN.contains(&one.2.as_str())) => {
                assert_eq!(how(&ours), "opaque", "{}", script.name);
                apart.push(format!("    {}: {}", script.name, theirs[0].2));
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

/// Each of `odd.sql` says behind its title how it is read: `read`, `opaque` somewhere, or `unclosed`.
#[test]
fn what_is_odd_is_read_as_it_says() {
    let all = scripts();
    let odd: Vec<&Script> = all.iter().filter(|script| script.name.starts_with("odd: ")).collect();
    for Script { name, text } in &odd {
        let (_, said) = name.rsplit_once(" -> ").unwrap_or_else(|| panic!("{name}: read how?"));
        assert_eq!(how(&read(text)), said, "{name}: {text}");
    }
    assert!(odd.len() >= 50, "{}", odd.len());
}

/// Words that are keywords somewhere in what writes, and names where nothing forbids it.
const WORDS: [&str; 32] = [
    "temp",
    "temporary",
    "table",
    "view",
    "data",
    "files",
    "function",
    "snapshot",
    "model",
    "replace",
    "update",
    "ignore",
    "rename",
    "copy",
    "clone",
    "options",
    "do",
    "begin",
    "insert",
    "delete",
    "overwrite",
    "partitions",
    "external",
    "schema",
    "procedure",
    "row",
    "index",
    "loop",
    "end",
    "transaction",
    "truncate",
    "into",
];

/// What is done to `NAME`.
const FORMS: [&str; 68] = [
    "INSERT INTO NAME (a) VALUES (1)",
    "INSERT NAME (a) VALUES (1)",
    "INSERT INTO NAME VALUES (1)",
    "INSERT INTO NAME SELECT 1",
    "INSERT NAME SELECT 1",
    "INSERT INTO NAME FROM d.s",
    "UPDATE NAME SET a = 1 WHERE TRUE",
    "UPDATE NAME AS x SET a = 1 WHERE TRUE",
    "UPDATE NAME x SET a = 1 WHERE TRUE",
    "UPDATE d.t NAME SET a = 1 WHERE TRUE",
    "DELETE NAME WHERE TRUE",
    "DELETE FROM NAME WHERE TRUE",
    "DELETE NAME x WHERE TRUE",
    "MERGE NAME USING d.s ON FALSE WHEN NOT MATCHED THEN INSERT ROW",
    "MERGE INTO NAME AS x USING d.s ON FALSE WHEN NOT MATCHED THEN INSERT ROW",
    "MERGE NAME x USING d.s ON FALSE WHEN MATCHED THEN DELETE",
    "TRUNCATE TABLE NAME",
    "CREATE TABLE NAME (a INT64)",
    "CREATE OR REPLACE TABLE NAME AS SELECT 1 AS a",
    "CREATE TABLE NAME PARTITION BY a AS SELECT 1 AS a",
    "CREATE TEMP TABLE NAME AS SELECT 1 AS a",
    "CREATE OR REPLACE TEMPORARY TABLE NAME (a INT64)",
    "CREATE TABLE IF NOT EXISTS NAME LIKE d.s",
    "CREATE OR REPLACE TABLE NAME COPY d.s",
    "CREATE TABLE NAME CLONE d.s",
    "CREATE TABLE d.t COPY NAME",
    "CREATE SNAPSHOT TABLE NAME CLONE d.s",
    "CREATE EXTERNAL TABLE NAME OPTIONS (format = 'CSV')",
    "CREATE VIEW NAME AS SELECT 1 AS a",
    "CREATE OR REPLACE VIEW NAME (a) AS SELECT 1 AS a",
    "CREATE MATERIALIZED VIEW NAME AS SELECT 1 AS a",
    "CREATE FUNCTION NAME() AS (1)",
    "CREATE TEMP FUNCTION NAME() AS (1)",
    "CREATE OR REPLACE TABLE FUNCTION NAME() AS SELECT 1 AS a",
    "CREATE PROCEDURE NAME() BEGIN SELECT 1; END",
    "CREATE MODEL NAME OPTIONS (model_type = 'x') AS SELECT 1 AS a",
    "CREATE SCHEMA NAME",
    "CREATE SEARCH INDEX i ON NAME (ALL COLUMNS)",
    "CREATE ROW ACCESS POLICY p ON NAME FILTER USING (TRUE)",
    "ALTER TABLE NAME ADD COLUMN a INT64",
    "ALTER TABLE NAME RENAME TO u",
    "ALTER TABLE d.t RENAME TO NAME",
    "ALTER TABLE NAME RENAME COLUMN rename TO x",
    "ALTER VIEW NAME SET OPTIONS (description = 'x')",
    "ALTER SCHEMA NAME SET OPTIONS (description = 'x')",
    "DROP TABLE NAME",
    "DROP TABLE IF EXISTS NAME",
    "DROP SNAPSHOT TABLE NAME",
    "DROP VIEW NAME",
    "DROP FUNCTION IF EXISTS NAME",
    "DROP TABLE FUNCTION NAME",
    "DROP PROCEDURE NAME",
    "DROP SCHEMA NAME CASCADE",
    "DROP MODEL NAME",
    "DROP ALL ROW ACCESS POLICIES ON NAME",
    "UNDROP SCHEMA NAME",
    "LOAD DATA INTO NAME FROM FILES (format = 'CSV')",
    "LOAD DATA OVERWRITE NAME (a INT64) FROM FILES (format = 'CSV')",
    "LOAD DATA INTO TEMP TABLE NAME FROM FILES (format = 'CSV')",
    "LOAD DATA INTO NAME OVERWRITE PARTITIONS (a = 1) FROM FILES (format = 'CSV')",
    "GRANT `r` ON TABLE NAME TO 'u'",
    "REVOKE `r` ON VIEW NAME FROM 'u'",
    "EXPORT MODEL NAME OPTIONS (uri = 'x')",
    "FROM d.s |> INSERT INTO NAME",
    "FROM d.s |> INSERT NAME",
    "FROM d.s |> FORK (|> CREATE TABLE NAME), (|> INSERT INTO NAME (a))",
    "FROM d.s |> CREATE OR REPLACE TEMP TABLE NAME",
    "@{a = 1} DELETE NAME WHERE TRUE",
];

#[test]
fn keywords_are_names_where_googles_parser_takes_them_for_names() {
    let mut texts: Vec<String> = Vec::new();
    for word in WORDS {
        let names = [format!("{word}.t"), format!("d.{word}"), word.to_owned()];
        texts.extend(
            names
                .iter()
                .flat_map(|name| FORMS.iter().map(move |form| form.replace("NAME", name))),
        );
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (mut agreed, mut refused, mut wrong) = (0, 0, Vec::new());
    for (text, google) in texts.iter().zip(google(&texts)) {
        let Google::Read { statements: theirs } = google else {
            refused += 1;
            continue;
        };
        let ours: Vec<Told> = read(text).unwrap().iter().map(told).collect();
        match ours == theirs {
            true => agreed += 1,
            false => wrong.push(format!("{text}\n  ours   {ours:?}\n  google {theirs:?}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are read differently:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    say(&format!(
        "scripts: {agreed} statements with keywords as names agree with Google's parser, which refuses {refused} more"
    ));
    assert!(agreed > 4000, "{agreed}");
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
