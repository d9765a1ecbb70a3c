//! The life of a token: renewed before its end, and once when it is refused.

use super::bench::Bench;
use super::issuer::Trouble;
use super::{KINDS, failed};
use serde_json::json;
use std::time::Duration;

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let kinds = KINDS.into_iter().filter(|(_, request, _)| *request != "subject");
    for (kind, _, set_up) in kinds {
        let mut bench = Bench::new();
        set_up(&mut bench);
        // With an impersonation, the token that counts is the second one.
        let per_token = if kind.contains("act") { 2 } else { 1 };
        bench.refuses(&format!("planted-access-token-{per_token}"));
        bench.snap().expect(0, kind);
        assert_eq!(bench.issuer.issued().len(), 2 * per_token, "{kind}");
        let refused = |call: &&tests::gateway::Call| call.status == Some(401);
        assert_eq!(bench.calls().iter().filter(refused).count(), 1, "{kind}");
        bench.end();
    }
    let mut bench = Bench::new();
    let key = bench.service_account();
    bench.name_file(&key);
    (1..9).for_each(|n| bench.refuses(&format!("planted-access-token-{n}")));
    failed(&bench.snap(), 8, &["authError", "HTTP 401"]);
    assert_eq!(bench.issuer.issued().len(), 2);
    let mut bench = Bench::new();
    let token = bench.plant("planted-token-that-is-over");
    bench.set("CLOUDSDK_AUTH_ACCESS_TOKEN", token);
    failed(&bench.snap(), 8, &["authError", "HTTP 401"]);
    assert_eq!(bench.calls().len(), 1, "there is no other token to try");
    bench.end();
}

/// Snapshots a table slowly, with tokens that live so long; gives how many tokens it took.
fn longer_than_a_token(latency: Duration, lives: Duration, set_up: fn(&mut Bench)) -> usize {
    let mut bench = Bench::slow(latency);
    set_up(&mut bench);
    bench.issuer.tokens_live(lives);
    bench.snap().expect(0, "a long run");
    let statuses: Vec<_> = bench.calls().iter().map(|call| call.status).collect();
    assert!(
        !statuses.contains(&Some(401)),
        "a token was over before it was renewed: {statuses:?}"
    );
    let tokens = bench.issuer.issued().len();
    bench.end();
    tokens
}

#[test]
fn a_run_outlives_its_tokens() {
    let [(_, _, key), _, (_, _, federation), ..] = KINDS;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // gcp_auth's are kept and renewed by the program, at three quarters of their life. A request that left just before must
            // arrive before the end on a machine that stands still for a second.
            let tokens = longer_than_a_token(Duration::from_millis(900), Duration::from_secs(8), key);
            assert!((3..=15).contains(&tokens), "{tokens}");
        });
        scope.spawn(move || {
            // google-cloud-auth renews its own, short ones after ten seconds.
            let tokens = longer_than_a_token(Duration::from_millis(700), Duration::from_secs(12), federation);
            assert!((2..=5).contains(&tokens), "{tokens}");
        });
    });
}

#[test]
fn work_under_way_outlasts_trouble_at_the_token_endpoint() {
    let mut bench = Bench::slow(Duration::from_millis(500));
    let key = bench.service_account();
    bench.name_file(&key);
    bench.issuer.tokens_live(Duration::from_secs(2));
    let ended = std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.snap());
        while bench.issuer.issued().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        // The renewal before its end fails, and so do the first tries when it is over.
        bench
            .issuer
            .fails("key", Trouble::Says(503, "temporarily_unavailable", 12));
        run.join().unwrap()
    });
    ended.expect(0, "the endpoint came back");
    assert_eq!(bench.issuer.refused(), 12);
    bench.end();
}

#[test]
fn many_tables_at_a_time_share_one_token() {
    let mut bench = Bench::new();
    let names: Vec<String> = (1..=24).map(|n| format!("pretend.d.t{n}")).collect();
    for name in &names {
        bench.sql(&format!("CREATE TABLE {name} (n INT64)"));
    }
    let file = bench.federated(json!({ "file": bench.write("subject", super::SUBJECT_TOKEN) }));
    bench.name_file(&file);
    let args: Vec<&str> = ["-v", "-j", "24"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    bench.run("bq-snap", &args).expect(0, "24 tables");
    assert_eq!(bench.issuer.issued().len(), 1);
    // Many come back at once with a token that is not taken: one new one is asked for.
    bench.refuses("planted-access-token-2");
    bench
        .run("bq-snap", &[&["-n"], &args[..]].concat())
        .expect(0, "24 tables");
    assert_eq!(bench.issuer.issued().len(), 3);
    let refused = |call: &&tests::gateway::Call| call.status == Some(401);
    assert!(bench.calls().iter().filter(refused).count() > 1);
    bench.end();
}
