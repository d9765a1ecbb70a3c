//! PURE: whether a query has become slower, from what it took on both sides, round by round: yes, no, or not to be
//! said.
//!
//! Of each side the median counts, and with it an interval that holds the true median in nine cases of ten, whatever
//! the times are distributed like. A yes or no is given only where both ends of both intervals agree on it.

use serde_json::{Value, json};

/// Slot time that is no slowdown, whatever its ratio, in milliseconds.
///
/// BigQuery starts and shuts the stages of a query on machines that others use too: that alone takes from some tens
/// to some hundreds of slot milliseconds, and of a small query another number each time. A reservation of 100 slots
/// does as much in 5 ms.
pub(crate) const NOISE_MS: u64 = 500;

/// What one query took, as BigQuery tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Took {
    pub(crate) slot_ms: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// One of the two that are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Snapshots,
    Live,
}

/// What both sides took.
#[derive(Debug, Default)]
struct Rounds {
    snapshots: Vec<Took>,
    live: Vec<Took>,
}

/// A comparison under way: one query at a time, the sides in turn.
pub(crate) struct Race {
    /// How many rounds are asked for.
    rounds: usize,
    most: f64,
    /// How many queries have run.
    ran: usize,
    seen: Rounds,
}

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Run(Side),
    Done(Judged),
}

impl Race {
    /// A comparison of so many rounds, `most` times what the snapshots take being allowed.
    pub(crate) fn new(rounds: usize, most: f64) -> Race {
        let (ran, seen) = (0, Rounds::default());
        Race {
            rounds,
            most,
            ran,
            seen,
        }
    }

    /// The next query; or, after all rounds, what they say. While that is nothing, as many rounds again, and once more.
    pub(crate) fn next(&self) -> Next {
        // The first round warms up: what BigQuery fetches and works out at a first time is no part of the comparison.
        let counted = (self.ran / 2).saturating_sub(1);
        let at_an_end = self.ran.is_multiple_of(2) && counted > 0 && counted.is_multiple_of(self.rounds);
        if at_an_end {
            let judged = judge(&self.seen, self.most);
            if !judged.noisy || counted >= 3 * self.rounds {
                return Next::Done(judged);
            }
        }
        Next::Run(self.turn())
    }

    /// Takes in what the query took whose turn it was.
    pub(crate) fn add(&mut self, took: Took) {
        if self.ran >= 2 {
            match self.turn() {
                Side::Snapshots => self.seen.snapshots.push(took),
                Side::Live => self.seen.live.push(took),
            }
        }
        self.ran += 1;
    }

    /// Each goes first in every other round, so that neither has the warmer caches.
    fn turn(&self) -> Side {
        match self.ran % 4 {
            0 | 3 => Side::Snapshots,
            _ => Side::Live,
        }
    }
}

/// What comes of the comparison.
#[derive(Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) ok: Option<bool>,
    pub(crate) got: String,
    pub(crate) detail: Value,
    /// More rounds may tell.
    pub(crate) noisy: bool,
}

/// Compares slot time and bytes of the live tables with the snapshots', `most` times them being allowed.
fn judge(rounds: &Rounds, most: f64) -> Judged {
    let number = rounds.live.len().min(rounds.snapshots.len());
    let unjudged = |got: &str| Judged {
        ok: None,
        got: got.to_owned(),
        detail: json!({ "rounds": number, "max_slowdown": most }),
        noisy: false,
    };
    let (Some(before), Some(now)) = (told(&rounds.snapshots), told(&rounds.live)) else {
        return unjudged("not judged: BigQuery does not tell what the query took");
    };
    let slots = Compared::of(&before.0, &now.0, most, NOISE_MS);
    let bytes = Compared::of(&before.1, &now.1, most, 0);
    if slots.is_nothing() && bytes.is_nothing() {
        return unjudged(
            "not judged: it takes no slot time and no bytes on either side; probe a query that reads columns",
        );
    }
    let ok = match (slots.slower, bytes.slower) {
        (Some(true), _) | (_, Some(true)) => Some(false),
        (Some(false), Some(false)) => Some(true),
        _ => None,
    };
    let found = format!("{}, {}", slots.words("slot time", " ms"), bytes.words("bytes", ""));
    Judged {
        ok,
        got: match ok {
            None => format!("too noisy to judge: {found} in {number} rounds"),
            Some(_) => found,
        },
        detail: json!({
            "rounds": number,
            "max_slowdown": most,
            "slot_ms": slots.detail(),
            "bytes": bytes.detail(),
        }),
        noisy: ok.is_none(),
    }
}

/// Slot times and bytes; `None`: one is missing. A query that reads no bytes may have no slot time: it had no stage.
fn told(side: &[Took]) -> Option<(Vec<u64>, Vec<u64>)> {
    let one = |took: &Took| {
        let bytes = took.bytes?;
        let slot_ms = took.slot_ms.or((bytes == 0).then_some(0))?;
        Some((slot_ms, bytes))
    };
    side.iter().map(one).collect()
}

/// One quantity on both sides.
struct Compared<'a> {
    before: &'a [u64],
    now: &'a [u64],
    was: Measured,
    is: Measured,
    noise: u64,
    most: f64,
    /// Whether the live tables take more than they may; `None`: not to be said.
    slower: Option<bool>,
}

impl<'a> Compared<'a> {
    fn of(before: &'a [u64], now: &'a [u64], most: f64, noise: u64) -> Compared<'a> {
        let (was, is) = (Measured::of(before), Measured::of(now));
        let times = |n: u64| n as f64 * most;
        // By products: a side may be nothing.
        let surely = is.low as f64 > times(was.high) && is.low.saturating_sub(was.high) > noise;
        let surely_not = is.high as f64 <= times(was.low) || is.high.saturating_sub(was.low) <= noise;
        Compared {
            before,
            now,
            was,
            is,
            noise,
            most,
            slower: match (surely, surely_not) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
        }
    }

    fn is_nothing(&self) -> bool {
        self.was.high == 0 && self.is.high == 0
    }

    fn ratio(&self) -> Option<f64> {
        (self.was.median > 0.0).then(|| self.is.median / self.was.median)
    }

    /// The least and the most that the ratio may be.
    fn span(&self) -> Option<(f64, f64)> {
        (self.was.low > 0).then(|| {
            let low = self.is.low as f64 / self.was.high as f64;
            (low, self.is.high as f64 / self.was.low as f64)
        })
    }

    fn words(&self, what: &str, unit: &str) -> String {
        let Some(ratio) = self.ratio() else {
            return match self.is.high {
                0 => format!("no {what} on either side"),
                _ => format!("{:.0}{unit} of {what} where there was none", self.is.median),
            };
        };
        let mut notes = Vec::new();
        if let Some((low, high)) = self.span().filter(|_| ratio > 0.0) {
            let off = (high / ratio - 1.0).max(1.0 - low / ratio) * 100.0;
            notes.extend((off >= 0.5).then(|| format!("±{off:.0}%")));
        }
        // By its ratio alone it would not have passed.
        if self.slower == Some(false) && self.is.high as f64 > self.was.low as f64 * self.most {
            let more = self.is.high.saturating_sub(self.was.low);
            notes.push(format!(
                "at most {more}{unit} more: up to {}{unit} are noise",
                self.noise
            ));
        }
        let notes = match notes.is_empty() {
            true => String::new(),
            false => format!(" ({})", notes.join("; ")),
        };
        format!("{ratio:.2} times the {what}{notes}")
    }

    fn detail(&self) -> Value {
        json!({
            "snapshots": self.before,
            "live": self.now,
            "ratio": self.ratio(),
            "low": self.span().map(|(low, _)| low),
            "high": self.span().map(|(_, high)| high),
        })
    }
}

/// A median, and where the true one is.
#[derive(Debug, PartialEq)]
struct Measured {
    low: u64,
    median: f64,
    high: u64,
}

impl Measured {
    fn of(values: &[u64]) -> Measured {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let n = sorted.len();
        let at = |i: usize| sorted.get(i).copied().unwrap_or(0);
        let cut = left_out(n);
        Measured {
            low: at(cut),
            median: (at(n.saturating_sub(1) / 2) as f64 + at(n / 2) as f64) / 2.0,
            high: at(n.saturating_sub(cut + 1)),
        }
    }
}

/// How many of `n` ordered values may be left out at each end, so that the rest still spans the true median in nine
/// of ten cases: each value falls below it or above it like a coin. Of fewer than eight values none may.
fn left_out(n: usize) -> usize {
    let mut cut = 0;
    let mut ways = 1.0;
    let mut below = 1.0;
    let all = 2_f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
    loop {
        let i = (cut + 1) as f64;
        ways *= (n as f64 - i + 1.0) / i;
        below += ways;
        if cut + 1 > n / 2 || 2.0 * below / all > 0.1 {
            return cut;
        }
        cut += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn side(slot_ms: &[u64], bytes: u64) -> Vec<Took> {
        let took = |slot_ms: &u64| Took {
            slot_ms: Some(*slot_ms),
            bytes: Some(bytes),
        };
        slot_ms.iter().map(took).collect()
    }

    fn rounds(before: (&[u64], u64), now: (&[u64], u64)) -> Rounds {
        Rounds {
            snapshots: side(before.0, before.1),
            live: side(now.0, now.1),
        }
    }

    /// Runs a race in which each side takes what it is given, round by round, the last again and again; in how many
    /// queries.
    fn race(before: &[u64], now: &[u64]) -> (Vec<Side>, Judged) {
        let mut race = Race::new(3, 1.5);
        let mut ran = Vec::new();
        loop {
            let side = match race.next() {
                Next::Run(side) => side,
                Next::Done(judged) => return (ran, judged),
            };
            let times = if side == Side::Live { now } else { before };
            let round = ran.iter().filter(|s| **s == side).count();
            race.add(Took {
                slot_ms: times.get(round).or(times.last()).copied(),
                bytes: Some(8),
            });
            ran.push(side);
        }
    }

    #[test]
    fn each_side_goes_first_as_often_and_the_first_round_does_not_count() {
        use Side::{Live as L, Snapshots as S};
        let (ran, judged) = race(&[77_000, 9000], &[9000]);
        assert_eq!(ran, [S, L, L, S, S, L, L, S]);
        assert_eq!(judged.detail["slot_ms"]["snapshots"], json!([9000, 9000, 9000]));
        assert_eq!(judged.detail["slot_ms"]["ratio"], json!(1.0));
    }

    #[test]
    fn what_is_noisy_gets_more_rounds_and_an_end() {
        let far = |n: usize| [9000, 90_000].repeat(n);
        for (now, rounds, ok) in [
            (vec![9000], 3, Some(true)),
            (vec![90_000], 3, Some(false)),
            // Eight of nine are alike, and one of nine may be left out.
            (vec![0, 90_000, 9000], 9, Some(true)),
            (far(9), 9, None),
        ] {
            let (ran, judged) = race(&[9000], &now);
            assert_eq!((ran.len(), judged.ok), (2 * (rounds + 1), ok), "{now:?}");
            assert_eq!(judged.detail["rounds"], json!(rounds));
        }
    }

    #[test]
    fn what_is_left_out_leaves_nine_of_ten() {
        let left: Vec<usize> = (1..=16).map(left_out).collect();
        assert_eq!(left, [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4]);
        assert!(left_out(300) > 130 && left_out(0) == 0);
    }

    /// `5*9000 2*1` is five times 9,000 and twice 1.
    fn times(text: &str) -> Vec<u64> {
        let number = |text: &str| text.parse().unwrap();
        let each = text.split(' ').flat_map(|word| match word.split_once('*') {
            Some((n, value)) => vec![number(value); n.parse().unwrap()],
            None => vec![number(word)],
        });
        each.collect()
    }

    /// Slot times on the snapshots and on the live tables, what is allowed, the answer, and its words on slot time.
    const CASES: &str = "
5*9000 | 5*9000 | 1.5 | yes | 1.00 times the slot time
5*9000 | 5*13500 | 1.5 | yes | 1.50 times the slot time
5*9000 | 5*13501 | 1.5 | no | 1.50 times the slot time
5*9000 | 5*13501 | 2.0 | yes | 1.50 times the slot time
# Faster is no slowdown.
5*9000 | 5*10 | 1.5 | yes | 0.00 times the slot time
5*4000 | 5*0 | 1.5 | yes | 0.00 times the slot time
# The interval lies below, above, across.
9000 9500 10000 10500 9900 | 9100 10000 10800 10100 9900 | 1.5 | yes | 1.01 times the slot time (±19%)
9000 9500 10000 10500 9900 | 29100 30000 30800 30100 29900 | 1.5 | no | 3.03 times the slot time (±13%)
9000 9500 10000 10500 9900 | 13000 15000 16000 15500 14000 | 1.5 | ? | 1.52 times the slot time (±18%)
# One slow round tells nothing, be it on either side; in many rounds it is left out.
5*9000 | 4*9000 90000 | 1.5 | ? | 1.00 times the slot time (±900%)
4*9000 90000 | 5*20000 | 1.5 | ? | 2.22 times the slot time (±90%)
15*9000 | 13*9000 2*90000 | 1.5 | yes | 1.00 times the slot time
13*9000 2*90000 | 13*20000 2*9 | 1.5 | no | 2.22 times the slot time
# As slow as that, or as little as noise.
5*100 | 590 4*700 | 1.5 | ? | 7.00 times the slot time (±16%)
# Three rounds have no room for a doubt.
2*9000 9100 | 9000 13600 9100 | 1.5 | ? | 1.01 times the slot time (±49%)
# Next to nothing is noise, many times next to nothing is not.
5*10 | 5*500 | 1.5 | yes | 50.00 times the slot time (at most 490 ms more: up to 500 ms are noise)
3*10 2*9 | 3*10 400 9 | 1.5 | yes | 1.00 times the slot time (±4344%; at most 391 ms more: up to 500 ms are noise)
5*10 | 5*510 | 1.5 | yes | 51.00 times the slot time (at most 500 ms more: up to 500 ms are noise)
4*10 100 | 5*20 | 1.5 | yes | 2.00 times the slot time (±90%; at most 10 ms more: up to 500 ms are noise)
5*10 | 5*511 | 1.5 | no | 51.10 times the slot time
5*0 | 5*0 | 1.5 | yes | no slot time on either side
5*0 | 5*400 | 1.5 | yes | 400 ms of slot time where there was none
5*0 | 5*4000 | 1.5 | no | 4000 ms of slot time where there was none
3*0 2*9000 | 5*9000 | 1.5 | ? | 9000 ms of slot time where there was none";

    #[test]
    fn yes_no_and_not_to_be_said() {
        let lines = CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let [before, now, most, ok, got] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let (before, now) = (times(before), times(now));
            let judged = judge(&rounds((&before, 80), (&now, 80)), most.parse().unwrap());
            let (ok, got) = match ok {
                "?" => {
                    let got = format!(
                        "too noisy to judge: {got}, 1.00 times the bytes in {} rounds",
                        now.len()
                    );
                    (None, got)
                }
                ok => (Some(ok == "yes"), format!("{got}, 1.00 times the bytes")),
            };
            assert_eq!((judged.ok, judged.got), (ok, got), "{line}");
            assert_eq!(judged.noisy, ok.is_none());
        }
    }

    #[test]
    fn bytes_have_no_floor() {
        let of = |before: u64, now: u64| judge(&rounds((&[100; 3], before), (&[100; 3], now)), 1.5);
        for (before, now, ok, got) in [
            (80, 80, Some(true), "1.00 times the slot time, 1.00 times the bytes"),
            (80, 120, Some(true), "1.00 times the slot time, 1.50 times the bytes"),
            (80, 121, Some(false), "1.00 times the slot time, 1.51 times the bytes"),
            (80, 800, Some(false), "1.00 times the slot time, 10.00 times the bytes"),
            (80, 0, Some(true), "1.00 times the slot time, 0.00 times the bytes"),
            (
                0,
                80,
                Some(false),
                "1.00 times the slot time, 80 of bytes where there was none",
            ),
            (0, 0, Some(true), "1.00 times the slot time, no bytes on either side"),
        ] {
            let judged = of(before, now);
            assert_eq!((judged.ok, judged.got.as_str()), (ok, got));
        }
        assert_eq!(of(80, 800).detail["bytes"]["live"], json!([800, 800, 800]));
        assert_eq!(of(80, 800).detail["bytes"]["ratio"], json!(10.0));
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let took = |slot_ms, bytes| vec![Took { slot_ms, bytes }; 3];
        for (before, now, got) in [
            (
                took(None, Some(0)),
                took(None, Some(0)),
                "not judged: it takes no slot time and no bytes",
            ),
            (
                took(Some(0), Some(0)),
                took(None, Some(0)),
                "not judged: it takes no slot time and no bytes",
            ),
            (
                took(None, Some(8)),
                took(Some(1), Some(8)),
                "not judged: BigQuery does not tell",
            ),
            (
                took(Some(1), Some(8)),
                took(Some(1), None),
                "not judged: BigQuery does not tell",
            ),
            (vec![], vec![], "not judged: it takes no slot time and no bytes"),
        ] {
            let judged = judge(
                &Rounds {
                    snapshots: before,
                    live: now,
                },
                1.5,
            );
            assert_eq!((judged.ok, judged.noisy), (None, false));
            assert!(judged.got.starts_with(got), "{}", judged.got);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// No yes that was not earned, and no no.
        #[test]
        fn the_medians_never_speak_against_the_verdict(
            before in prop::collection::vec(0_u64..20_000, 3..20), now in prop::collection::vec(0_u64..40_000, 3..20),
            most in 1.01_f64..4.0,
        ) {
            let judged = judge(&rounds((&before, 8), (&now, 8)), most);
            let (was, is) = (Measured::of(&before).median, Measured::of(&now).median);
            let slower = is > was * most && is - was > NOISE_MS as f64;
            match judged.ok {
                Some(ok) => prop_assert_eq!(ok, !slower, "{}", judged.got),
                None => prop_assert!(judged.noisy),
            }
        }

        /// Where nothing varies, there is nothing that cannot be said.
        #[test]
        fn even_times_are_always_judged(was in 1_u64..100_000, is in 0_u64..100_000, n in 3_usize..20) {
            let judged = judge(&rounds((&vec![was; n], 8), (&vec![is; n], 8)), 1.5);
            prop_assert!(judged.ok.is_some());
        }
    }
}
