//! PURE: in which pieces of a table's time its rows are compared, to find those that others added; and which pieces hold any.
//!
//! Between the migration's statements every row that came is others'. While one of them ran, rows of both may have come: if as many as it
//! says explain all of them, none was others'; else every row of that while is taken. A row too many costs nothing, one too few is lost.

use crate::record::Statement;

/// How many whiles of the migration are told apart: each takes two tables of its own beside the live one.
pub const MOST: usize = 8;

/// A while in which statements of the migration wrote the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// As of this instant, in milliseconds since 1970, they had not written.
    pub from_ms: u64,
    /// As of this they had.
    pub to_ms: u64,
    /// Rows that they say they inserted.
    pub inserted: u64,
    /// Updated.
    pub updated: u64,
    /// Deleted.
    pub deleted: u64,
    /// Whether one of them may have written another table: BigQuery does not tell.
    pub untold: bool,
}

/// The table at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As we last know it to have been without others' writes: at the cut, or as we left it.
    Base,
    /// As of an instant.
    At(u64),
    /// As it is kept: as it was found.
    Kept,
}

/// Two states between which rows are looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The earlier one; `None`: an empty table.
    pub before: Option<State>,
    /// The later one.
    pub after: State,
    /// The migration's writes in between, if there are any.
    pub window: Option<Window>,
}

/// How two states differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Rows of the earlier one.
    pub before: u64,
    /// Rows of the later one.
    pub after: u64,
    /// Rows of the later one that are not in the earlier one, or not as often.
    pub added: u64,
}

/// From when on rows that came to a table are others'.
#[derive(Clone, Debug, PartialEq)]
pub enum Since {
    /// From the cut, the migration's writes in between being known.
    Cut(Vec<Window>),
    /// From the cut, not told apart from the migration's, for this reason.
    CutAsAWhole(String),
    /// From when a restore of ours had put the table back as it was at the cut.
    PutBack,
    /// From when bq-restore had left it: this instant, in milliseconds since 1970.
    Left(u64),
    /// From its beginning, for this reason.
    Ever(String),
}

impl Since {
    /// The pieces to look at.
    pub fn pieces(&self) -> Vec<Piece> {
        let whole = |before| Piece {
            before,
            after: State::Kept,
            window: None,
        };
        match self {
            Since::Cut(windows) => pieces(windows),
            Since::CutAsAWhole(_) | Since::PutBack => vec![whole(Some(State::Base))],
            // A change in the very millisecond that it was left in is ours.
            Since::Left(ms) => vec![whole(Some(State::At(ms + 1)))],
            Since::Ever(_) => vec![whole(None)],
        }
    }

    /// What is looked at if this cannot be had, for a reason.
    pub fn instead(&self, why: &str) -> Option<Since> {
        match self {
            Since::Cut(_) => Some(Since::CutAsAWhole(why.to_owned())),
            Since::CutAsAWhole(_) | Since::PutBack | Since::Left(_) => Some(Since::Ever(why.to_owned())),
            Since::Ever(_) => None,
        }
    }

    /// Why rows that are not others' may be among those that are found.
    pub fn more(&self) -> Option<&str> {
        match self {
            Since::Cut(_) | Since::PutBack | Since::Left(_) => None,
            Since::CutAsAWhole(why) | Since::Ever(why) => Some(why),
        }
    }
}

/// When the statements of the migration that wrote a table, and those that may have, did so; `None`: BigQuery did not say when.
///
/// A statement's writes are made between its start and its end, of which BigQuery tells whole milliseconds, cut off.
pub fn windows<'s>(writes: impl IntoIterator<Item = &'s Statement>) -> Option<Vec<Window>> {
    let one = |s: &Statement| {
        Some(Window {
            from_ms: s.started_ms?,
            to_ms: s.ended_ms? + 1,
            inserted: s.inserted.unwrap_or(0),
            updated: s.updated.unwrap_or(0),
            deleted: s.deleted.unwrap_or(0),
            untold: s.table.is_none(),
        })
    };
    let mut all: Vec<Window> = writes.into_iter().map(one).collect::<Option<_>>()?;
    all.sort_by_key(|window| window.from_ms);
    let mut apart: Vec<Window> = Vec::new();
    for window in all {
        match apart.last_mut() {
            Some(last) if window.from_ms <= last.to_ms => last.join(&window),
            _ => apart.push(window),
        }
    }
    while apart.len() > MOST {
        let next = |i: &usize| apart[i + 1].from_ms - apart[*i].to_ms;
        let nearest = (0..apart.len() - 1).min_by_key(next)?;
        let later = apart.remove(nearest + 1);
        apart[nearest].join(&later);
    }
    Some(apart)
}

impl Window {
    fn join(&mut self, later: &Window) {
        self.to_ms = self.to_ms.max(later.to_ms);
        self.inserted += later.inserted;
        self.updated += later.updated;
        self.deleted += later.deleted;
        self.untold |= later.untold;
    }

    /// Whether the migration's own rows are all that came and went: as many more rows, and no more new ones, than it says.
    fn explains(&self, seen: Measured) -> bool {
        let grown = i128::from(seen.after) - i128::from(seen.before);
        let says = i128::from(self.inserted) - i128::from(self.deleted);
        let all = grown == says && seen.added <= self.inserted + self.updated;
        all || (self.untold && grown == 0 && seen.added == 0)
    }
}

fn pieces(windows: &[Window]) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut now = State::Base;
    for window in windows {
        let from = State::At(window.from_ms);
        found.push(Piece {
            before: Some(now),
            after: from,
            window: None,
        });
        now = State::At(window.to_ms);
        found.push(Piece {
            before: Some(from),
            after: now,
            window: Some(window.clone()),
        });
    }
    found.push(Piece {
        before: Some(now),
        after: State::Kept,
        window: None,
    });
    found
}

/// What is taken of the pieces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// The places of those whose new rows are taken.
    pub pieces: Vec<usize>,
    /// How many rows that are.
    pub rows: u64,
    /// Whether rows of the migration may be among them.
    pub mixed: bool,
}

/// The pieces that hold rows of others.
pub fn choose(pieces: &[Piece], measured: &[Measured]) -> Chosen {
    let mut chosen = Chosen::default();
    for (place, (piece, seen)) in pieces.iter().zip(measured).enumerate() {
        let explained = piece.window.as_ref().is_some_and(|window| window.explains(*seen));
        if seen.added == 0 || explained {
            continue;
        }
        chosen.pieces.push(place);
        chosen.rows += seen.added;
        chosen.mixed |= piece.window.is_some();
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    fn statement(started: Option<u64>, ended: u64, inserted: u64, updated: u64, deleted: u64) -> Statement {
        let mut statement = json!({
            "number": 1, "kind": "MERGE", "table": "p.d.t", "inserted": inserted, "updated": updated, "deleted": deleted,
            "ended_ms": ended,
        });
        if let Some(started) = started {
            statement["started_ms"] = json!(started);
        }
        serde_json::from_value(statement).unwrap()
    }

    #[test]
    fn whiles_that_touch_are_one_and_there_are_not_too_many() {
        let told = |statements: &[Statement]| {
            let found = windows(statements)?;
            Some(
                found
                    .iter()
                    .map(|w| (w.from_ms, w.to_ms, w.inserted))
                    .collect::<Vec<_>>(),
            )
        };
        let one = |from, to| statement(Some(from), to, 1, 0, 0);
        assert_eq!(told(&[]), Some(vec![]));
        assert_eq!(told(&[one(10, 20), one(30, 40)]), Some(vec![(10, 21, 1), (30, 41, 1)]));
        assert_eq!(
            told(&[one(20, 30), one(10, 20)]),
            Some(vec![(10, 31, 2)]),
            "in one millisecond"
        );
        assert_eq!(
            told(&[one(10, 90), one(20, 30)]),
            Some(vec![(10, 91, 2)]),
            "one in another"
        );
        assert_eq!(told(&[one(10, 20), statement(None, 30, 1, 0, 0)]), None);
        let many: Vec<Statement> = (0..20).map(|n| one(n * 100, n * 100 + 9 + n)).collect();
        let found = windows(&many).unwrap();
        assert_eq!(found.len(), MOST);
        assert_eq!(found.iter().map(|w| w.inserted).sum::<u64>(), 20);
        assert_eq!((found[0].from_ms, found[MOST - 1].to_ms), (0, 1929));
    }

    #[test]
    fn what_a_statement_says_explains_what_came_or_does_not() {
        let window = |inserted, updated, deleted, untold| Window {
            from_ms: 1,
            to_ms: 2,
            inserted,
            updated,
            deleted,
            untold,
        };
        let seen = |before, after, added| Measured { before, after, added };
        for (window, seen, want) in [
            (window(3, 0, 0, false), seen(10, 13, 3), true),
            (window(3, 0, 0, false), seen(10, 14, 4), false),
            (window(3, 0, 0, false), seen(10, 13, 4), false),
            (window(0, 2, 0, false), seen(10, 10, 2), true),
            (window(0, 2, 0, false), seen(10, 10, 1), true),
            (window(0, 2, 0, false), seen(10, 10, 3), false),
            (window(0, 0, 4, false), seen(10, 6, 0), true),
            (window(0, 0, 4, false), seen(10, 7, 1), false),
            (window(3, 0, 0, true), seen(10, 10, 0), true),
            (window(3, 0, 0, true), seen(10, 13, 3), true),
            (window(3, 0, 0, true), seen(10, 10, 1), false),
            (window(0, 0, 0, false), seen(10, 10, 0), true),
        ] {
            assert_eq!(window.explains(seen), want, "{window:?} {seen:?}");
        }
    }

    #[test]
    fn every_reason_leads_to_less_knowledge_and_to_an_end() {
        let mut since = Since::Cut(Vec::new());
        let mut told = 0;
        while let Some(next) = since.instead("gone") {
            assert_eq!(next.more(), Some("gone"));
            since = next;
            told += 1;
        }
        assert_eq!((told, since.pieces()[0].before), (2, None));
        assert_eq!(Since::Left(7).pieces()[0].before, Some(State::At(8)));
    }

    /// Rows as numbers, each so many times.
    type Rows = BTreeMap<u32, u64>;

    fn count(rows: &Rows) -> u64 {
        rows.values().sum()
    }

    fn added(before: &Rows, after: &Rows) -> Rows {
        let more = |(row, n): (&u32, &u64)| (*row, n.saturating_sub(before.get(row).copied().unwrap_or(0)));
        after.iter().map(more).filter(|(_, n)| *n > 0).collect()
    }

    #[derive(Clone, Debug)]
    enum Deed {
        /// The migration's, which takes a while, in which others insert before and after it commits.
        Migration(Vec<u32>, Vec<u32>, Vec<u32>, Vec<u32>),
        /// Others insert.
        Insert(Vec<u32>),
        /// Others delete.
        Delete(Vec<u32>),
    }

    /// Rows of the migration are below 100; others' are from 100 on, and from 50 to 99 both.
    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let others = || vec(100u32..105, 0..3);
        let ours = || vec(0u32..100, 0..5);
        let one = prop_oneof![
            (ours(), ours(), others(), others()).prop_map(|(i, d, a, b)| Deed::Migration(i, d, a, b)),
            vec(50u32..105, 0..4).prop_map(Deed::Insert),
            vec(0u32..105, 0..4).prop_map(Deed::Delete),
        ];
        vec(one, 0..14)
    }

    fn insert(rows: &mut Rows, new: &[u32]) {
        new.iter().for_each(|row| *rows.entry(*row).or_default() += 1);
    }

    /// Deletes every row of these values: how many there were.
    fn delete(rows: &mut Rows, old: &[u32]) -> u64 {
        old.iter().filter_map(|row| rows.remove(row)).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever others insert is in what is taken, as often as they did, unless somebody took it away in the same piece; and where they
        /// insert nothing, nothing is taken.
        #[test]
        fn nothing_of_others_is_lost(deeds in deeds(), cut in vec(0u32..105, 0..20)) {
            let mut now = Rows::new();
            insert(&mut now, &cut);
            let mut history = vec![(0, now.clone())];
            let (mut ms, mut statements) = (0, Vec::new());
            // Of each piece that ends: what others inserted in it, and what of that was there still at its end.
            let mut foreign: Rows = Rows::new();
            let mut since = now.clone();
            let mut alone = true;
            let mut settle = |since: &Rows, now: &Rows| {
                // Only values that the migration never writes: of the others nobody can tell whose a row is.
                for (row, n) in added(since, now).into_iter().filter(|(row, _)| *row >= 100) {
                    *foreign.entry(row).or_default() += n;
                }
            };
            for deed in &deeds {
                ms += 10;
                match deed {
                    Deed::Migration(new, old, early, late) => {
                        settle(&since, &now);
                        let from = now.clone();
                        history.push((ms, now.clone()));
                        insert(&mut now, early);
                        let deleted = delete(&mut now, old);
                        insert(&mut now, new);
                        insert(&mut now, late);
                        alone &= early.is_empty() && late.is_empty();
                        ms += 10;
                        history.push((ms, now.clone()));
                        statements.push(statement(Some(ms - 10), ms, new.len() as u64, 0, deleted));
                        settle(&from, &now);
                        since = now.clone();
                    }
                    Deed::Insert(new) => {
                        alone &= new.is_empty();
                        insert(&mut now, new);
                        history.push((ms, now.clone()));
                    }
                    Deed::Delete(old) => {
                        delete(&mut now, old);
                        history.push((ms, now.clone()));
                    }
                }
            }
            settle(&since, &now);
            let as_of = |at: u64| {
                let there = history.iter().rev().find(|(ms, _)| *ms <= at);
                there.map(|(_, rows)| rows.clone()).unwrap()
            };
            let state = |state: State| match state {
                State::Base => as_of(0),
                State::At(ms) => as_of(ms),
                State::Kept => now.clone(),
            };
            let windows = windows(&statements).unwrap();
            let joined = windows.len() < statements.len();
            let pieces = Since::Cut(windows).pieces();
            let differ = |piece: &Piece| (piece.before.map(state).unwrap_or_default(), state(piece.after));
            let measured: Vec<Measured> = pieces.iter().map(differ).map(|(before, after)| Measured {
                before: count(&before), after: count(&after), added: count(&added(&before, &after)),
            }).collect();
            let chosen = choose(&pieces, &measured);
            let mut taken = Rows::new();
            for place in &chosen.pieces {
                let (before, after) = differ(&pieces[*place]);
                added(&before, &after).into_iter().for_each(|(row, n)| *taken.entry(row).or_default() += n);
            }
            prop_assert_eq!(count(&taken), chosen.rows);
            if alone {
                // Where others only delete, the rows that are left may not add up: more is taken, and never others'.
                let deleted = deeds.iter().any(|deed| matches!(deed, Deed::Delete(_)));
                prop_assert!(deleted || chosen.rows == 0, "{:?} {:?}", chosen, measured);
            }
            if !joined {
                for (row, n) in &foreign {
                    prop_assert!(taken.get(row).copied().unwrap_or(0) >= *n, "{row} {n}: {taken:?} {chosen:?} {measured:?}");
                }
            }
        }
    }
}
