//! The SQL files of a migration: read, their `${NAME}`s replaced, before anything is asked of BigQuery.

use std::path::Path;

use bqlib::exit::Failure;
use bqlib::names::sha256_hex;
use bqlib::script;
use bqlib::tool::Tool;

/// BigQuery's limit on a query's text: 1,024k characters.
/// Source: <https://docs.cloud.google.com/bigquery/quotas#query_jobs>.
const LONGEST: usize = 1024 * 1024;

/// A file of the migration, ready to be sent.
pub(crate) struct Source {
    /// The file, as it was named.
    pub(crate) name: String,
    /// What is sent.
    pub(crate) sql: String,
    /// Its digest.
    pub(crate) sha256: String,
}

/// `--var NAME=VALUE`, in the order given.
pub(crate) fn parse_vars(flags: &[String]) -> Result<Vec<(String, String)>, Failure> {
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
        script::replace_variables("${V}", |_| Some(value.to_owned()))
            .map_err(|e| bad(e.what.replace("${V}", &format!("${{{name}}}"))))?;
        vars.push((name.to_owned(), value.to_owned()));
    }
    Ok(vars)
}

/// Reads a file and replaces its variables: those of `--var`, and three that the environment may name.
pub(crate) fn read(t: &Tool, file: &Path, vars: &[(String, String)], replace: bool) -> Result<Source, Failure> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| {
        Failure::usage(
            format!("the SQL file cannot be read: {e}"),
            name.clone(),
            "name a readable file",
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..valid].iter().filter(|b| **b == b'\n').count() + 1;
        Failure::usage(
            "the SQL file is not UTF-8",
            format!("{name}, line {line}"),
            "save it as UTF-8",
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if let Some(at) = text.find('\0') {
        let line = text[..at].matches('\n').count() + 1;
        return Err(Failure::usage(
            "the SQL file holds a NUL byte",
            format!("{name}, line {line}"),
            "save it as plain text",
        ));
    }
    let value = |wanted: &str| {
        let given = vars
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone());
        given.or_else(|| match wanted {
            "PROJECT_ID" => t.named_project().map(ToString::to_string),
            "PROD_DATASET" | "STAGING_DATASET" => t.env(wanted).map(str::to_owned),
            _ => None,
        })
    };
    let sql = match replace {
        false => text.to_owned(),
        true => script::replace_variables(text, value).map_err(|e| {
            let at = format!("{name}, line {}, column {}", e.line, e.column);
            Failure::usage(
                e.what,
                at,
                "give it with `--var NAME=VALUE`; `$${` stands for `${`, and `--no-vars` replaces nothing",
            )
        })?,
    };
    if script::statements(&sql).is_empty() {
        return Err(Failure::usage(
            "the SQL file holds no statement",
            name,
            "name a file with SQL in it",
        ));
    }
    if sql.chars().count() > LONGEST {
        let what = format!(
            "the SQL is {} characters long, and BigQuery takes {LONGEST}",
            sql.chars().count()
        );
        return Err(Failure::usage(what, name, "split the file"));
    }
    Ok(Source {
        sha256: sha256_hex(&sql),
        name,
        sql,
    })
}
