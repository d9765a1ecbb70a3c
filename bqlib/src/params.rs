//! Query parameters as `bq query --parameter` writes them: `name:type:value`, made into what the API takes.
//!
//! An empty name makes a positional parameter, an empty type a STRING; arrays and structs have their values as JSON, `NULL` is null, in
//! JSON too. Knows no SQL: whether a parameter is used is BigQuery's to say.
//! Source: <https://docs.cloud.google.com/bigquery/docs/parameterized-queries>, and `ParseParameter` of the `bq` command.

mod kinds;
mod values;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::exit::Failure;

/// The parameters of `--param` flags, as the API has them.
///
/// # Errors
/// One cannot be read (2).
pub(crate) fn of_flags(flags: &[String]) -> std::result::Result<Vec<Value>, Failure> {
    let example = "for example `--param min_rows:INT64:100`";
    parse_all(flags).map_err(|e| Failure::usage(format!("{e:#}"), "--param", example))
}

/// The parameters of several flags, as the API has them. A flag that names a file stands for the JSON list in it.
fn parse_all(flags: &[String]) -> Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    for flag in flags {
        if std::path::Path::new(flag).is_file() {
            let text = std::fs::read_to_string(flag).with_context(|| flag.clone())?;
            all.extend(of_file(&text).with_context(|| format!("{flag} holds no JSON list of parameters"))?);
        } else {
            all.push(parse(flag).with_context(|| format!("`{}`", beginning(flag)))?);
        }
    }
    let name = |p: &Value| p.get("name").and_then(Value::as_str).map(str::to_lowercase);
    let named = all.iter().filter(|p| name(p).is_some()).count();
    if named != 0 && named != all.len() {
        bail!("named and positional parameters cannot be mixed");
    }
    for (i, one) in all.iter().enumerate() {
        if let Some(named) = name(one)
            && all[..i].iter().any(|other| name(other).as_ref() == Some(&named))
        {
            bail!("parameter `{named}` is given twice");
        }
    }
    Ok(all)
}

/// The parameters of a file, written as the API has them.
fn of_file(text: &str) -> Result<Vec<Value>> {
    let list: Vec<Value> = serde_json::from_str(text)?;
    for (one, number) in list.iter().zip(1..) {
        let there = |key: &str| one.get(key).is_some_and(Value::is_object);
        if !there("parameterType") || !there("parameterValue") {
            bail!("number {number} has no `parameterType` and `parameterValue`");
        }
    }
    Ok(list)
}

/// The parameter of one flag, as the API has it.
///
/// # Errors
/// It cannot be read.
pub fn parse(flag: &str) -> Result<Value> {
    const FORM: &str = "write name:type:value, :type:value (positional) or name::value (a STRING)";
    let (name, rest) = flag.split_once(':').context(FORM)?;
    let (kind, value) = rest.split_once(':').context(FORM)?;
    if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        bail!("`{}` is no parameter name", beginning(name));
    }
    let kind = kinds::parse(if kind.is_empty() { "STRING" } else { kind })?;
    let value = values::of_text(&kind, value)?;
    let mut parameter = json!({ "parameterType": kind.json(), "parameterValue": value });
    if !name.is_empty() {
        parameter["name"] = json!(name);
    }
    Ok(parameter)
}

/// As much of what somebody typed as a message can hold, without what steers a terminal.
fn beginning(text: &str) -> String {
    const MOST: usize = 60;
    let shown: String = text.chars().take(MOST).collect();
    let more = if shown.len() < text.len() { "..." } else { "" };
    format!("{}{more}", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(flags: &[&str]) -> Result<Vec<Value>> {
        parse_all(&flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn parameters_are_named_or_counted_and_none_twice() {
        assert!(all(&["a:INT64:1", ":INT64:2"]).is_err());
        assert!(all(&["a:INT64:1", "A:INT64:2"]).is_err());
        assert!(all(&[":INT64:1", ":INT64:2"]).is_ok());
        assert_eq!(
            all(&["ä_1::x:y"]).unwrap(),
            [json!({"name": "ä_1", "parameterType": {"type": "STRING"}, "parameterValue": {"value": "x:y"}})]
        );
    }

    #[test]
    fn a_flag_may_name_a_file_of_the_apis_own_form() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("params.json");
        let flag = file.display().to_string();
        let one = json!({"name": "a", "parameterType": {"type": "INT64"}, "parameterValue": {"value": "1"}});
        std::fs::write(&file, json!([one]).to_string()).unwrap();
        assert_eq!(all(&[&flag]).unwrap(), [one]);
        assert!(all(&[&flag, "a:INT64:2"]).is_err());
        for (text, why) in [
            ("{}", "expected a sequence"),
            ("[", "EOF"),
            ("[1]", "number 1 has no `parameterType`"),
            (
                r#"[{"parameterType": {}, "parameterValue": {}}, {"parameterType": {}}]"#,
                "number 2",
            ),
            (&"[".repeat(100_000), "recursion limit"),
        ] {
            std::fs::write(&file, text).unwrap();
            let said = format!("{:#}", all(&[&flag]).unwrap_err());
            assert!(
                said.contains(why) && said.contains("params.json holds no JSON list"),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_said_of_a_bad_flag_is_short_and_plain() {
        let flags = [
            format!("a:ARRAY<{}:x", "ARRAY<".repeat(100_000)),
            "a\u{1b}[2J:INT64:1".to_owned(),
        ];
        let failure = of_flags(&flags[..1]).unwrap_err();
        assert!(failure.what.len() < 300, "{}", failure.what);
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        let said = of_flags(&flags[1..]).unwrap_err().what;
        assert!(
            said.contains("is no parameter name") && !said.contains('\u{1b}'),
            "{said}"
        );
    }
}
