//! PURE: what was foreseen of a file of a migration, for a person at a terminal: a row a statement, then the sums, then what to think of.

use crate::foresight::{Price, dollars};
use crate::record::{Foreseen, ForeseenEffect, ForeseenStatement, ForeseenVerdict};

/// Names of columns, and cells.
type Row = (Vec<&'static str>, Vec<String>);

/// The rows, those of one table together.
pub(crate) fn rows(file: &str, foreseen: &Foreseen) -> Vec<Row> {
    let price = foreseen.price_per_tib.map(Price);
    let mut rows: Vec<Row> = foreseen.statements.iter().map(|one| statement(one, price)).collect();
    rows.push(sums(file, foreseen));
    for (head, list) in [
        ("makes", &foreseen.new),
        ("no rollback undoes", &foreseen.irreversible),
        ("not known before it runs", &foreseen.opaque),
        ("trap", &foreseen.traps),
    ] {
        rows.extend(list.iter().map(|what| (vec![head], vec![what.clone()])));
    }
    rows
}

fn statement(one: &ForeseenStatement, price: Option<Price>) -> Row {
    let kind = match one.conditional {
        true => format!("{} ?", one.kind.replace('_', " ")),
        false => one.kind.replace('_', " "),
    };
    let tables: Vec<String> = one.effects.iter().map(effect).collect();
    let valid = match (one.verdict, &one.why) {
        (None, _) => "not asked".to_owned(),
        (Some(ForeseenVerdict::Validated), _) => "yes".to_owned(),
        (Some(ForeseenVerdict::NoNeed), _) => String::new(),
        (Some(ForeseenVerdict::NotKnowable), why) => format!("? {}", why.as_deref().unwrap_or_default()),
        (Some(ForeseenVerdict::Wrong), why) => format!("NO {}", why.as_deref().unwrap_or_default()),
    };
    let cost = one.bytes.zip(price).map(|(bytes, price)| dollars(price.of(bytes)));
    let head = vec!["#", "line", "kind", "table", "bytes", "about", "valid"];
    let cells = vec![
        one.number.to_string(),
        one.line.to_string(),
        kind,
        tables.join(", "),
        one.bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
        cost.unwrap_or_default(),
        valid,
    ];
    (head, cells)
}

/// `p.d.t`, and what is to be known of it: `p.d.t (new)`, `p.d.t (drops, allowed)`.
fn effect(effect: &ForeseenEffect) -> String {
    let deed = match effect.deed.as_str() {
        "drops" | "replaces" => Some(effect.deed.as_str()),
        _ => None,
    };
    let standing = match effect.standing.as_str() {
        "protected" | "irreversible" | "unguarded" => None,
        "outside" => Some("NOT PROTECTED"),
        "snapshot" => Some("THE RUN'S OWN"),
        other => Some(other),
    };
    let notes: Vec<&str> = deed.into_iter().chain(standing).collect();
    match notes.is_empty() {
        true => effect.name.clone(),
        false => format!("{} ({})", effect.name, notes.join(", ")),
    }
}

fn sums(file: &str, foreseen: &Foreseen) -> Row {
    let least = if foreseen.at_least { "at least " } else { "" };
    let text = |value: Option<String>| value.unwrap_or_else(|| "not asked".to_owned());
    let head = vec!["file", "statements", "validated", "bytes", "about"];
    let cells = vec![
        file.to_owned(),
        foreseen.statements.len().to_string(),
        text(foreseen.coverage.map(|percent| format!("{percent} %"))),
        text(foreseen.bytes.map(|bytes| format!("{least}{bytes}"))),
        text(foreseen.cost_usd.map(|cost| format!("{least}{}", dollars(cost)))),
    ];
    (head, cells)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_sees_what_each_statement_does_and_what_it_comes_to() {
        let foreseen: Foreseen = serde_json::from_value(json!({
            "coverage": 50, "bytes": 1_u64 << 40, "at_least": true, "cost_usd": 6.25, "price_per_tib": 6.25,
            "irreversible": ["statement 3: EXPORT DATA"], "traps": ["line 1: x"], "new": ["p.d.n"],
            "statements": [
                { "number": 1, "line": 1, "column": 1, "kind": "UPDATE", "bytes": 1_u64 << 40, "verdict": "validated",
                  "effects": [{ "deed": "writes", "object": "table", "name": "p.d.t", "standing": "protected" }] },
                { "number": 2, "line": 4, "column": 3, "kind": "DROP_TABLE", "verdict": "not_knowable", "why": "why", "conditional": true,
                  "effects": [{ "deed": "drops", "object": "table", "name": "p.d.u", "standing": "outside" }] },
                { "number": 3, "line": 5, "column": 1, "kind": "BEGIN", "verdict": "no_need" },
                { "number": 4, "line": 6, "column": 1, "kind": "SELECT" },
            ],
        }))
        .unwrap();
        let rows = rows("m.sql", &foreseen);
        let cells: Vec<String> = rows.iter().map(|(_, cells)| cells.join("|")).collect();
        assert_eq!(
            cells,
            [
                "1|1|UPDATE|p.d.t|1099511627776|$6.25|yes",
                "2|4|DROP TABLE ?|p.d.u (drops, NOT PROTECTED)|||? why",
                "3|5|BEGIN||||",
                "4|6|SELECT||||not asked",
                "m.sql|4|50 %|at least 1099511627776|at least $6.25",
                "p.d.n",
                "statement 3: EXPORT DATA",
                "line 1: x",
            ]
        );
        assert!(rows.iter().all(|(head, cells)| head.len() == cells.len()));
    }
}
