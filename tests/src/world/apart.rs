//! PURE: the one text of our programs that is more than this world's language: rows that a table has and another has not. It is read as
//! `SELECT … FROM after WITHOUT before`, which is what `queries` knows.

/// What a text of `bqlib::foreign::query` says, in the words of this world; any other text as it is.
pub(super) fn plainly(sql: &str) -> Option<String> {
    let between = |text: &str| -> Vec<String> { text.split('\n').map(str::to_owned).collect() };
    if sql.contains(" AS n_before, ") {
        let parts = between(sql).into_iter().map(|part| measured(&part));
        return Some(parts.collect::<Option<Vec<_>>>()?.join(" UNION ALL "));
    }
    let (head, rows) = sql.split_once(" AS\nSELECT o0 AS ")?;
    let parts = between(rows).into_iter().map(|part| {
        let (after, before) = states(&part)?;
        Some(format!("SELECT * FROM {after}{before}"))
    });
    Some(format!(
        "{head} AS {}",
        parts.collect::<Option<Vec<_>>>()?.join(" UNION ALL ")
    ))
}

/// `SELECT i AS i, … AS n_before, … AS n_after, COUNT(*) AS n_added FROM (…)`.
fn measured(part: &str) -> Option<String> {
    let (items, rows) = part.split_once(" AS n_added FROM (")?;
    let (after, before) = states(rows)?;
    let items = items.strip_prefix("UNION ALL ").unwrap_or(items);
    Some(format!("{items} AS n_added FROM {after}{before}"))
}

/// The table that rows are of, and ` WITHOUT` and the one whose rows they are not, if there is one.
fn states(rows: &str) -> Option<(String, String)> {
    let mut keyed = rows.split(" AS k FROM ").skip(1);
    let name = |text: &str| Some(format!("`{}`", text.strip_prefix('`')?.split('`').next()?));
    match (keyed.next(), keyed.next()) {
        (Some(after), Some(before)) => Some((name(after)?, format!(" WITHOUT {}", name(before)?))),
        _ => Some((name(rows.rsplit(" FROM ").next()?)?, String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_and_a_copy_are_read() {
        let rows = |before: &str| {
            format!(
                "SELECT o0 AS `id` FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k) AS nth FROM (SELECT `id` AS o0, \
                 TO_JSON_STRING(STRUCT(`id` AS c0)) AS k FROM `p.d.after`)) AS later LEFT JOIN (SELECT k AS known, COUNT(*) AS times \
                 FROM (SELECT TO_JSON_STRING(STRUCT(`id` AS c0)) AS k FROM `{before}`) GROUP BY k) AS earlier ON later.k = earlier.known \
                 WHERE nth > IFNULL(times, 0)"
            )
        };
        let all = "SELECT o0 AS `id` FROM (SELECT `id` AS o0 FROM `p.d.t`)";
        let measure = format!(
            "SELECT 0 AS i, (SELECT COUNT(*) FROM `p.d.b`) AS n_before, (SELECT COUNT(*) FROM `p.d.after`) AS n_after, \
             COUNT(*) AS n_added FROM ({})\nUNION ALL SELECT 1 AS i, 0 AS n_before, (SELECT COUNT(*) FROM `p.d.t`) AS n_after, \
             COUNT(*) AS n_added FROM ({all})",
            rows("p.d.b")
        );
        assert_eq!(
            plainly(&measure).unwrap(),
            "SELECT 0 AS i, (SELECT COUNT(*) FROM `p.d.b`) AS n_before, (SELECT COUNT(*) FROM `p.d.after`) AS n_after, COUNT(*) AS \
             n_added FROM `p.d.after` WITHOUT `p.d.b` UNION ALL SELECT 1 AS i, 0 AS n_before, (SELECT COUNT(*) FROM `p.d.t`) AS n_after, \
             COUNT(*) AS n_added FROM `p.d.t`"
        );
        let copy = format!("CREATE TABLE `p.d.f` OPTIONS() AS\n{}\nUNION ALL {all}", rows("p.d.b"));
        assert_eq!(
            plainly(&copy).unwrap(),
            "CREATE TABLE `p.d.f` OPTIONS() AS SELECT * FROM `p.d.after` WITHOUT `p.d.b` UNION ALL SELECT * FROM `p.d.t`"
        );
        assert_eq!(plainly("SELECT 1 AS n"), None);
    }
}
