//! SQL files, of a migration or of checks: read, their `${NAME}`s replaced, before anything is asked of BigQuery.

use std::path::Path;

use serde_json::Value;

use crate::exit::{Failure, Pointer};
use crate::names::sha256_hex;
use crate::params;
use crate::place::{File, Place, Told};
use crate::script::{self, Statement};
use crate::tool::Tool;
use crate::variables::{NoValue, Put, Replaced, replace_variables};

/// BigQuery's limit on a query's text. The page says 1 MB and not of what; BigQuery's own message says "1024.00K characters, including
/// comments and white space characters", so that what is longer in bytes only is for BigQuery to judge.
/// Source: <https://docs.cloud.google.com/bigquery/quotas#query_jobs>.
const LONGEST: usize = 1024 * 1024;

/// What to do about a text that is longer.
const SPLIT: &str = "split the file";

/// A file, ready to be sent.
pub struct Source {
    /// The file, as it was named.
    pub name: String,
    /// What is sent.
    pub sql: String,
    /// Its digest.
    pub sha256: String,
    /// The file as it stands on disk.
    file: File,
    /// Its statements, those in blocks too.
    pub statements: Vec<Statement>,
}

impl Source {
    /// The place in the file of what stands at this byte of what is sent.
    pub fn place(&self, offset: usize) -> Place {
        self.file.place(offset)
    }

    /// The places of what stands at these bytes, in the order in which they stand.
    pub fn places(&self, offsets: impl IntoIterator<Item = usize>) -> Vec<Place> {
        self.file.places(offsets)
    }

    /// Three lines of the file around it, with a caret under it.
    pub fn context(&self, offset: usize) -> Pointer {
        self.file.context(offset)
    }

    /// The failure, at this byte of what is sent: `at:` names file, line and column, and the lines around are shown.
    pub fn locate(&self, failure: Failure, offset: usize) -> Failure {
        let at = self.place(offset).to_string();
        Failure { at, ..failure }.pointing(self.context(offset))
    }

    /// Where in what is sent BigQuery's message says that something is wrong; the whole file was sent.
    pub fn told(&self, message: &str) -> Option<usize> {
        Told::of(message)?.offset(&self.sql)
    }

    /// BigQuery's message, its `at [line:column]` being that of the file; the whole file was sent.
    pub fn in_file(&self, message: &str) -> String {
        let told = Told::of(message).and_then(|told| Some(told.in_file(&self.place(told.offset(&self.sql)?))));
        told.unwrap_or_else(|| message.to_owned())
    }
}

/// What SQL files are read with: the same flags in each program that reads any.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Flags {
    /// A query parameter of the SQL files, as `bq query --parameter` writes it; repeatable
    #[arg(long, value_name = "NAME:TYPE:VALUE")]
    param: Vec<String>,
    /// Replace ${NAME} in the files by VALUE, which must be a name; repeatable. PROJECT_ID, PROD_DATASET and STAGING_DATASET may come
    /// from the environment
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
    /// Replace no ${NAME}
    #[arg(long, conflicts_with = "var")]
    no_vars: bool,
}

impl Flags {
    /// One of the flags that were given.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("--param", !self.param.is_empty()),
            ("--var", !self.var.is_empty()),
            ("--no-vars", self.no_vars),
        ];
        given.iter().find(|(_, given)| *given).map(|(flag, _)| *flag)
    }

    /// The variables, and the parameters as the API has them.
    ///
    /// # Errors
    /// A flag is no variable or parameter (2).
    pub fn read(&self) -> Result<(Variables, Vec<Value>), Failure> {
        let variables = Variables {
            given: parse_vars(&self.var)?,
            replace: !self.no_vars,
        };
        Ok((variables, params::of_flags(&self.param)?))
    }
}

/// What the `${NAME}`s of a file stand for.
pub struct Variables {
    /// `--var NAME=VALUE`, in the order given.
    given: Vec<(String, String)>,
    /// False: nothing is replaced.
    replace: bool,
}

fn parse_vars(flags: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut vars: Vec<(String, String)> = Vec::new();
    for flag in flags {
        let bad = |what: String| Failure::usage(what, "--var", "write `--var NAME=VALUE`, the value being a name");
        let (name, value) = flag
            .split_once('=')
            .ok_or_else(|| bad(format!("`{}` has no `=`", flag.escape_debug())))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(bad(format!("`{}` is no variable name", name.escape_debug())));
        }
        if vars.iter().any(|(other, _)| other == name) {
            return Err(bad(format!("`{name}` is given twice")));
        }
        // A value that is no name is refused even if no file uses it: a typing error should not wait for a night to be found.
        replace_variables("${V}", |_| Ok(Some(Put::Name(value.to_owned()))))
            .map_err(|e| bad(e.what.replace("${V}", &format!("${{{name}}}"))))?;
        vars.push((name.to_owned(), value.to_owned()));
    }
    Ok(vars)
}

/// What `${before:TABLE}` stands for; a migration knows none.
pub type Before<'b> = &'b dyn Fn(&str) -> Result<Option<Put>, NoValue>;

/// Reads a file of a migration and replaces its variables: those of `--var`, and three that the environment may name.
///
/// # Errors
/// It cannot be read, is no SQL text, holds no statement, is too long, or a variable has no value (2).
pub fn read(t: &Tool, file: &Path, vars: &Variables) -> Result<Source, Failure> {
    let name = file.display().to_string();
    let text = text(t, file, "the SQL file", "name a readable file")?;
    let replaced = vars.replaced(t, &name, &text, &|_| Ok(None))?;
    let (file, sql) = File::new(name.clone(), text, replaced);
    let mut source = Source {
        statements: Vec::new(),
        sha256: sha256_hex(&sql),
        name,
        sql,
        file,
    };
    if let Some((what, offset)) = too_long(&source.sql) {
        return Err(Failure::usage(what, source.place(offset).to_string(), SPLIT));
    }
    source.statements = script::read(&source.sql).map_err(|open| {
        let what = format!("{} is not closed", open.what);
        source.locate(Failure::usage(what, "", "close it"), open.start)
    })?;
    if source.statements.is_empty() {
        let end = source.place(source.sql.trim_end().len()).to_string();
        let hint = "name a file with SQL in it";
        return Err(Failure::usage("the SQL file holds no statement", end, hint));
    }
    Ok(source)
}

/// The text of a file: what it is called, and what to do if it cannot be read, is the caller's to say.
///
/// # Errors
/// It cannot be read, or is no SQL text (2); a signal came first (128+n).
pub fn text(t: &Tool, file: &Path, called: &str, hint: &str) -> Result<String, Failure> {
    let name = file.display().to_string();
    let bytes = t
        .read_file(file)?
        .map_err(|e| Failure::usage(format!("{called} cannot be read: {e}"), name.clone(), hint))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&e.as_bytes()[..valid]);
        let at = place_in(&name, without_mark(&before));
        Failure::usage(format!("{called} is not UTF-8"), at, "save it as UTF-8")
    })?;
    let text = match without_mark(&text) {
        plain if plain.len() < text.len() => plain.to_owned(),
        _ => text,
    };
    if let Some(at) = text.find('\0') {
        let at = place_in(&name, &text[..at]);
        let what = format!("{called} holds a NUL byte");
        return Err(Failure::usage(what, at, "save it as plain text"));
    }
    Ok(text)
}

/// A text without its byte order mark.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The place in a file before which this stands.
fn place_in(name: &str, before: &str) -> String {
    let (line, column) = script::line_and_column(before, before.len());
    format!("{name}, line {line}, column {column}")
}

/// The text of a file whose statements are told apart here, as [`text`].
///
/// # Errors
/// As [`text`]; or a carriage return stands alone in it (2): to BigQuery a comment ends there, to most editors it goes on, and what looks
/// as if it were a comment would be asked.
pub fn statements_text(t: &Tool, file: &Path, called: &str, hint: &str) -> Result<String, Failure> {
    let text = text(t, file, called, hint)?;
    let alone = |(at, _): &(usize, &str)| !text[at + 1..].starts_with('\n');
    if let Some((at, _)) = text.match_indices('\r').find(alone) {
        return Err(Failure::usage(
            format!("{called} holds a carriage return without a line feed"),
            place_in(&file.display().to_string(), &text[..at]),
            "save it with line feeds, as Unix has them",
        ));
    }
    Ok(text)
}

impl Variables {
    /// A file's text with its variables replaced.
    ///
    /// # Errors
    /// One has no value (2).
    pub fn replaced(&self, t: &Tool, name: &str, text: &str, before: Before<'_>) -> Result<Replaced, Failure> {
        if !self.replace {
            return Ok(Replaced::plain(text));
        }
        let value = |wanted: &str| {
            if let Some(table) = wanted.strip_prefix("before:") {
                return before(table);
            }
            let given = self.given.iter().find(|(name, _)| name == wanted);
            let value = given.map(|(_, value)| value.clone()).or_else(|| match wanted {
                "PROJECT_ID" => t.named_project().map(ToString::to_string),
                "PROD_DATASET" | "STAGING_DATASET" => t.env(wanted).map(str::to_owned),
                _ => None,
            });
            Ok(value.map(Put::Name))
        };
        replace_variables(text, value).map_err(|e| {
            let at = format!("{name}, line {}, column {}", e.line, e.column);
            let any = "give it with `--var NAME=VALUE`; `$${` stands for `${`, and `--no-vars` replaces nothing";
            Failure::usage(e.what, at, e.hint.unwrap_or(any))
        })
    }
}

/// Refuses what BigQuery does not take for its length alone.
///
/// # Errors
/// It is too long (2).
pub fn not_too_long(name: &str, sql: &str) -> Result<(), Failure> {
    match too_long(sql) {
        Some((what, _)) => Err(Failure::usage(what, name, SPLIT)),
        None => Ok(()),
    }
}

/// What is said of a text that is too long, and the byte at which it is.
fn too_long(sql: &str) -> Option<(String, usize)> {
    let (offset, _) = sql.char_indices().nth(LONGEST)?;
    let length = sql.chars().count();
    let what = format!("the SQL is {length} characters long, and BigQuery takes {LONGEST}");
    Some((what, offset))
}
