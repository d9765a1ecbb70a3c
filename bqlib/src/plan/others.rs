//! PURE: whether others than the migration, or than our own restore, have changed a table. Knows no way back.

use super::way::{Expected, Facts, Now, Replaced};
use crate::clock::millis;
use crate::meta::SchemaRule;
use crate::migration::is_dml;
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
    // A job is proof of a write, and no job is no proof of none: a streaming insert has none, and other projects' are not listed.
    if facts.jobs.iter().any(|job| job.wrote_after(millis(facts.cut))) {
        return Others::Wrote("jobs that are not the migration's wrote it".to_owned());
    }
    let all_dml = writes.iter().all(|s| is_dml(&s.kind));
    if let Some(how) = other_than_dml(facts, now).filter(|_| all_dml) {
        return Others::Wrote(how);
    }
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

/// What has happened to a table that no INSERT, UPDATE, DELETE or MERGE does.
fn other_than_dml(facts: &Facts, now: &Now) -> Option<String> {
    let before = facts.before?;
    // What a restore of ours has made anew was made anew by no others.
    if facts.put_back != Replaced::No {
        return None;
    }
    let differs =
        !before.schema_differences(now.meta, SchemaRule::Same).is_empty() || before.layout() != now.meta.layout();
    if now.created_ms > millis(facts.cut) {
        return Some("it was made anew, and no statement of the migration did that".to_owned());
    }
    differs.then(|| "its columns or layout changed, and no statement of the migration changes those".to_owned())
}
