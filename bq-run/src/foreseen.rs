//! PURE: what was learned about a file before it runs, as its record tells it, and what of it keeps it from being run.

use bqlib::exit::{Exit, Failure};
use bqlib::foresight::{Coverage, Deeds, Price, Script, Thing, Verdict, tally};
use bqlib::plan::foresee::{Given, Standing, There, standing};
use bqlib::record::{Foreseen, ForeseenEffect, ForeseenStatement, ForeseenVerdict};
use bqlib::script::{Deed, Kind, Statement};

use crate::asked::{Answer, Answers};
use crate::foresight::Read;

/// A file as it was foreseen.
pub(crate) fn of_file(
    file: &Read<'_>,
    answers: Option<&[Answer]>,
    (given, there): (&Given, &There),
    price: Price,
) -> Foreseen {
    let script = Script::new(&file.source.sql, file.statements);
    let mut foreseen = Foreseen::default();
    for (number, (statement, deeds)) in file.statements.iter().zip(&file.deeds).enumerate() {
        let place = file.source.place(statement.range.start);
        let answer = answers.and_then(|answers| answers.get(number));
        let effects = effects(deeds, given, there);
        told_of(&mut foreseen, number, statement, &effects);
        if let Some(reading) = answer.and_then(|answer| answer.reading.as_ref()) {
            let what = format!("statement {}: to BigQuery {reading}", number + 1);
            foreseen.opaque.push(what);
        }
        let (verdict, why) = answer.map(|answer| in_words(&answer.verdict)).unwrap_or_default();
        foreseen.statements.push(ForeseenStatement {
            number: small(number + 1),
            line: small(place.line),
            column: small(place.column),
            kind: statement.kind.to_string(),
            conditional: statement.conditional,
            effects: effects.into_iter().map(|(effect, ..)| effect).collect(),
            verdict,
            why,
            bytes: answer.and_then(|answer| bytes_of(statement, answer)),
        });
    }
    if let Some(answers) = answers {
        let tally = tally(answers.iter().map(|answer| &answer.verdict));
        foreseen.coverage = Some(tally.percent());
        foreseen.validated = Some(tally.validated);
        let bytes = foreseen.statements.iter().filter_map(|statement| statement.bytes).sum();
        foreseen.bytes = Some(bytes);
        let repeated =
            |number: usize| script.is_in_a_loop(number) && answers[number].bytes.is_some_and(|bytes| bytes > 0);
        foreseen.at_least = tally.not_knowable > 0 || (0..answers.len()).any(repeated);
        foreseen.cost_usd = Some(price.of(bytes));
        foreseen.price_per_tib = Some(price.0);
    }
    foreseen
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The bytes that a statement is billed for. What only makes, alters or drops is not, whatever its dry run says.
/// Source: <https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#on-demand_query_size_calculation>.
fn bytes_of(statement: &Statement, answer: &Answer) -> Option<u64> {
    use Kind::*;
    let plain = matches!(
        statement.kind,
        CreateTable
            | CreateTableLike
            | CreateView
            | CreateSchema
            | CreateFunction
            | CreateTableFunction
            | CreateProcedure
            | AlterTable
            | AlterView
            | AlterMaterializedView
            | AlterSchema
            | AlterModel
            | RenameTable
            | DropTable
            | DropSnapshotTable
            | DropExternalTable
            | DropView
            | DropMaterializedView
            | DropFunction
            | DropTableFunction
            | DropProcedure
            | DropSchema
            | DropModel
            | DropIndex
            | Truncate
    );
    answer.bytes.map(|bytes| if plain { 0 } else { bytes })
}

fn in_words(verdict: &Verdict) -> (Option<ForeseenVerdict>, Option<String>) {
    match verdict {
        Verdict::Validated => (Some(ForeseenVerdict::Validated), None),
        Verdict::NoNeed => (Some(ForeseenVerdict::NoNeed), None),
        Verdict::NotKnowable(why) | Verdict::MayFail(why, _) => (Some(ForeseenVerdict::NotKnowable), Some(why.clone())),
        Verdict::Wrong(why, _) => (Some(ForeseenVerdict::Wrong), Some(why.clone())),
    }
}

fn effects<'d>(deeds: &'d Deeds, given: &Given, there: &There) -> Vec<(ForeseenEffect, Standing, Deed, &'d Thing)> {
    let effect = |(deed, thing): &'d (Deed, Thing)| {
        let stands = standing(*deed, thing, given, there);
        let effect = ForeseenEffect {
            deed: word(*deed).to_owned(),
            object: thing.word().to_owned(),
            name: thing.to_string(),
            standing: stands.word().to_owned(),
        };
        (effect, stands, *deed, thing)
    };
    // What lives no longer than the script is nobody's to protect.
    let lasting = deeds
        .effects
        .iter()
        .filter(|(_, thing)| !matches!(thing, Thing::Temporary(_)));
    lasting.map(effect).collect()
}

fn word(deed: Deed) -> &'static str {
    match deed {
        Deed::Create => "creates",
        Deed::Replace => "replaces",
        Deed::Write => "writes",
        Deed::Drop => "drops",
        Deed::Beyond => "beyond",
    }
}

/// Takes a statement into what is told of the file.
fn told_of(
    foreseen: &mut Foreseen,
    number: usize,
    statement: &Statement,
    effects: &[(ForeseenEffect, Standing, Deed, &Thing)],
) {
    let add = |list: &mut Vec<String>, what: String| {
        if !list.contains(&what) {
            list.push(what);
        }
    };
    let kind = statement.kind.as_str().replace('_', " ");
    let number = number + 1;
    for (effect, stands, deed, thing) in effects {
        match (stands, deed, thing) {
            (Standing::Opaque, ..) => add(
                &mut foreseen.opaque,
                format!("statement {number}: {kind} of {}", effect.name),
            ),
            (Standing::Irreversible, _, Thing::Other(_)) => {
                add(&mut foreseen.irreversible, format!("statement {number}: {kind}"))
            }
            (Standing::Irreversible, ..) => {
                add(
                    &mut foreseen.irreversible,
                    format!("statement {number}: {kind} of {}", effect.name),
                );
            }
            (Standing::New, Deed::Create | Deed::Replace | Deed::Write, thing)
                if !matches!(thing, Thing::Unknown(_)) =>
            {
                add(&mut foreseen.new, effect.name.clone());
            }
            (
                Standing::Protected | Standing::Allowed | Standing::Unguarded,
                Deed::Create | Deed::Replace | Deed::Write | Deed::Drop,
                _,
            ) => {
                add(&mut foreseen.writes, effect.name.clone());
            }
            _ => {}
        }
    }
    if statement.kind.is_opaque() {
        add(&mut foreseen.opaque, format!("statement {number}: {kind}"));
    }
}

/// Refuses files of which less was validated than was asked for.
pub(crate) fn not_enough(read: &[Read<'_>], answers: &[Answers], least: Option<Coverage>) -> Option<Failure> {
    let least = least?;
    let each = || each(read, answers);
    let all = tally(each().map(|(.., answer)| &answer.verdict));
    if all.is_enough(least) {
        return None;
    }
    let mut first = None;
    let mut named = Vec::new();
    let mut more = 0_usize;
    for (file, number, answer) in each() {
        let (Verdict::NotKnowable(why) | Verdict::MayFail(why, _)) = &answer.verdict else {
            continue;
        };
        if named.len() == SAID {
            more += 1;
            continue;
        }
        let place = file.source.place(file.statements[number].range.start);
        named.push(format!("statement {} of line {} ({why})", number + 1, place.line));
        first.get_or_insert(place);
    }
    let and = match more {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let what = format!(
        "{} % of the statements that need it were validated, less than `--min-coverage`: not {}{and}",
        all.percent(),
        named.join("; ")
    );
    let at = first.map(|place| place.to_string()).unwrap_or_default();
    let hint = "split the migration behind what it makes, or ask for less; nothing was submitted";
    Some(Failure::refused(what, at, hint))
}

/// How many statements are named in one failure.
const SAID: usize = 5;

/// What BigQuery finds wrong.
pub(crate) fn wrong(read: &[Read<'_>], answers: &[Answers]) -> Option<Failure> {
    let wrong = each(read, answers).filter_map(|(file, number, answer)| match &answer.verdict {
        Verdict::Wrong(why, at) => {
            let at = at.unwrap_or(file.statements[number].range.start);
            Some((file, number, why, at, &answer.reason))
        }
        _ => None,
    });
    let wrong: Vec<_> = wrong.collect();
    let Some((file, number, why, at, reason)) = wrong.first() else {
        let mut whole = read.iter().zip(answers);
        let (name, why) = whole.find_map(|(file, answers)| Some((&file.source.name, answers.wrong.as_ref()?)))?;
        let what = format!("{name}: BigQuery finds it wrong, and does not say where: {why}");
        return Some(Failure::new(Exit::No, what, name, mend(why)));
    };
    let name = &file.source.name;
    let which = match file.statements {
        [_] => "the SQL".to_owned(),
        all => format!(
            "statement {} ({})",
            number + 1,
            all[*number].kind.as_str().replace('_', " ")
        ),
    };
    let others = match wrong.len() - 1 {
        0 => String::new(),
        1 => "; and another statement".to_owned(),
        others => format!("; and {others} other statements"),
    };
    let what = format!("{name}: BigQuery finds {which} wrong: {why}{others}");
    let failure = Failure {
        reason: (*reason).clone(),
        ..Failure::new(Exit::No, what, "", mend(why))
    };
    Some(file.source.locate(failure, *at))
}

/// What to do about what BigQuery finds wrong.
fn mend(why: &str) -> &'static str {
    match why.contains("Query parameter") && why.contains("not found") {
        true => "say `--param NAME:TYPE:VALUE`; nothing was submitted",
        false => "mend the file; nothing was submitted",
    }
}

/// What BigQuery finds wrong now, and that may not run, or may fail with the script going on.
pub(crate) fn may_fail<'r>(read: &'r [Read<'_>], answers: &'r [Answers]) -> impl Iterator<Item = Failure> {
    each(read, answers).filter_map(|(file, number, answer)| {
        let Verdict::MayFail(why, at) = &answer.verdict else {
            return None;
        };
        let statement = &file.statements[number];
        let kind = statement.kind.as_str().replace('_', " ");
        let what = format!("statement {} ({kind}) may be wrong: {why}", number + 1);
        let at = file.source.place(at.unwrap_or(statement.range.start)).to_string();
        Some(Failure::refused(
            what,
            at,
            "if it is not to run now, nothing needs to be done",
        ))
    })
}

/// Each statement of each file, and what was answered about it.
fn each<'r, 's>(
    read: &'r [Read<'s>],
    answers: &'r [Answers],
) -> impl Iterator<Item = (&'r Read<'s>, usize, &'r Answer)> {
    let files = read.iter().zip(answers);
    files.flat_map(|(file, answers)| {
        let of_file = answers.statements.iter().enumerate();
        of_file.map(move |(number, answer)| (file, number, answer))
    })
}
