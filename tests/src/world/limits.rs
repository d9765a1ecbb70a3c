//! PURE: how many snapshots and clones a table may have.

use std::collections::BTreeMap;

use super::sql::Name;
use super::tables::{Tables, Version};
use super::values::{Millis, Trouble};

/// What BigQuery lets a table have (<https://cloud.google.com/bigquery/quotas#table_snapshots>).
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) snapshots_a_day: usize,
    /// Clones and snapshots of it that live.
    pub(super) copies_of_a_base: usize,
    /// When snapshots were made of a table: dropping one gives nothing back.
    made: BTreeMap<Name, Vec<Millis>>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            snapshots_a_day: 50,
            copies_of_a_base: 1_000,
            made: BTreeMap::new(),
        }
    }
}

impl Tables {
    /// Refuses one clone or snapshot too many.
    pub(super) fn check_copies(&self, of: &Name, snapshot: bool, now: Millis) -> Result<(), Trouble> {
        let most = self.limits.copies_of_a_base;
        let copies = |(_, v): &(&Name, &Version)| v.origin.as_ref().is_some_and(|(base, _)| base == of);
        if self.all().filter(copies).count() >= most {
            let message = format!(
                "Cannot have more than {most} active clones and snapshots of a table: {}",
                of.told()
            );
            return Err(Trouble::of("invalid", message));
        }
        let made = self.limits.made.get(of).map_or(&[][..], Vec::as_slice);
        let today = made.iter().filter(|at| **at > now - 86_400_000).count();
        match snapshot && today >= self.limits.snapshots_a_day {
            true => Err(Trouble::of(
                "quotaExceeded",
                "Quota exceeded: Your table exceeded quota for snapshots per table per day. For more information, see \
                 https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
            )),
            false => Ok(()),
        }
    }

    pub(super) fn made_snapshot(&mut self, of: &Name, now: Millis) {
        self.limits.made.entry(of.clone()).or_default().push(now);
    }
}
