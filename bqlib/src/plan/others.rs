//! PURE: whether others than the migration, or than our own restore, have changed a table. Knows no way back.

use super::way::{Expected, Facts, Now};
use crate::record::Statement;
use crate::state::Left;

/// Whether others changed a table since the cut, besides the migration.
#[derive(Debug, PartialEq)]
pub(super) enum Others {
    /// They did, and how that shows.
    Wrote(String),
    /// Everything that changed is the migration's.
    DidNot,
    /// The last change is the migration's; what happened before it cannot be told.
    CannotBeTold,
}

/// Whether they did.
pub(super) fn others_wrote(facts: &Facts, now: &Now) -> Others {
    if facts.dropped_by_us {
        return Others::Wrote("it was dropped to be put back, and somebody has made it anew since".to_owned());
    }
    match &facts.expected {
        Expected::Migration { writes, changed_before } => besides_the_migration(facts, now, writes, *changed_before),
        Expected::Restore(Left::At(left)) if now.modified_ms <= *left => Others::DidNot,
        Expected::Restore(Left::At(left)) => Others::Wrote(format!(
            "it changed {} ms after bq-restore had put it back",
            now.modified_ms - left
        )),
        Expected::Restore(Left::Gone) => {
            Others::Wrote("bq-restore had taken it away, and somebody has made it anew since".to_owned())
        }
        Expected::Restore(Left::Unknown) => Others::CannotBeTold,
    }
}

fn besides_the_migration(facts: &Facts, now: &Now, writes: &[&Statement], changed_before: bool) -> Others {
    if changed_before {
        return Others::Wrote("it had changed between the cut and the migration".to_owned());
    }
    let Some(last) = writes.iter().filter_map(|s| s.ended_ms).max() else {
        return Others::Wrote("it changed, and no statement of the migration wrote it".to_owned());
    };
    if now.modified_ms > last {
        return Others::Wrote(format!(
            "it changed {} ms after the migration's last statement on it had ended",
            now.modified_ms - last
        ));
    }
    let all_dml = writes.iter().all(|s| {
        matches!(
            s.kind.as_str(),
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE_TABLE"
        )
    });
    let (Some(before), Some(rows), true) = (facts.rows_at_cut, now.rows, all_dml) else {
        return Others::CannotBeTold;
    };
    let sum = |of: fn(&Statement) -> Option<u64>| writes.iter().map(|s| i128::from(of(s).unwrap_or(0))).sum::<i128>();
    let should = i128::from(before) + sum(|s| s.inserted) - sum(|s| s.deleted);
    if should == i128::from(rows) {
        return Others::DidNot;
    }
    Others::Wrote(format!("it has {rows} rows, and the migration left {should}"))
}
