//! Rows that were in the streaming buffer at the cut: no snapshot holds them, so no restore brings them back, and every record says so.

use bqlib::exit::{Exit, Failure};
use bqlib::perform::Held;
use bqlib::plan::Way;
use bqlib::plan::restore::Planned;
use bqlib::tool::Tool;

/// What a table that is put back is without, in words; `None`: nothing.
pub(crate) fn unprotected(planned: &Planned) -> Option<String> {
    let rows = planned.snapshot.unprotected_rows.filter(|rows| *rows > 0)?;
    let replaced = matches!(planned.way, Way::Restore(_) | Way::PutBack);
    let (rows_are, they) = match rows {
        1 => ("row that was", "it"),
        _ => ("rows that were", "them"),
    };
    replaced.then(|| format!("{rows} {rows_are} in the streaming buffer at the cut: its snapshot does not hold {they}"))
}

/// Tells it before it happens.
pub(crate) fn warn(t: &Tool, held: &Held<'_>, plans: &[Planned]) {
    for planned in plans {
        let Some(without) = unprotected(planned) else { continue };
        let table = &planned.snapshot.table;
        let what = format!("`{table}` comes back without {without}");
        let hint = format!(
            "if they were written by then, they are in what is kept as {table}_before_restore_{}",
            held.id()
        );
        t.warn(&Failure::new(Exit::Ok, what, format!("table {table}"), hint).about(table));
    }
}
