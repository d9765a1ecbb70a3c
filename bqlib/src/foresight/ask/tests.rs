use serde_json::json;

use super::*;
use crate::script::{Deed, Effect, Object};

/// A statement that is this part of a script.
fn part(text: &str, of: &str, kind: Kind, depth: usize) -> Statement {
    let start = text.find(of).unwrap_or_else(|| panic!("{of} is not in {text}"));
    Statement {
        range: start..start + of.len(),
        kind,
        depth,
        conditional: false,
        effects: Vec::new(),
        reads: Vec::new(),
        expressions: Vec::new(),
        query: None,
        variables: Vec::new(),
        parts: Vec::new(),
    }
}

fn declares(text: &str, of: &str, names: &[&str], depth: usize) -> Statement {
    Statement {
        variables: names.iter().map(|name| (*name).to_owned()).collect(),
        ..part(text, of, Kind::Declare, depth)
    }
}

fn sent(ask: &Ask) -> String {
    match ask {
        Ask::NoNeed => "no need".to_owned(),
        Ask::Whole => "whole".to_owned(),
        Ask::Piece(piece) => match &piece.stops_early {
            None => piece.sent.sql.clone(),
            Some(_) => format!("{} (stops)", piece.sent.sql),
        },
        Ask::Unknowable(why) => format!("unknowable: {why}"),
    }
}

fn all(text: &str, statements: &[Statement]) -> Vec<String> {
    Script::new(text, statements)
        .asks(&[], &BTreeSet::new())
        .iter()
        .map(sent)
        .collect()
}

#[test]
fn one_statement_is_the_file() {
    let text = "-- x\nUPDATE d.t SET a = 1 WHERE TRUE;\n";
    assert_eq!(
        all(text, &[part(text, "UPDATE d.t SET a = 1 WHERE TRUE", Kind::Update, 0)]),
        ["whole"]
    );
    let call = part(text, "UPDATE", Kind::Call, 0);
    assert_eq!(
        all(text, &[call]),
        ["unknowable: what CALL runs is not known before it runs"]
    );
}

#[test]
fn a_statement_takes_the_declarations_it_names() {
    let text = "DECLARE a INT64 DEFAULT (SELECT MAX(x) FROM d.t); DECLARE b, c DEFAULT 'a'; DECLARE e INT64 DEFAULT a + 1; \
                SELECT b, 'e', @a /* e */; SELECT e; SELECT A; SET a = 5; SELECT 1;";
    let statements = [
        declares(text, "DECLARE a INT64 DEFAULT (SELECT MAX(x) FROM d.t)", &["a"], 0),
        declares(text, "DECLARE b, c DEFAULT 'a'", &["b", "c"], 0),
        declares(text, "DECLARE e INT64 DEFAULT a + 1", &["e"], 0),
        part(text, "SELECT b, 'e', @a /* e */", Kind::Select, 0),
        part(text, "SELECT e", Kind::Select, 0),
        part(text, "SELECT A", Kind::Select, 0),
        part(text, "SET a = 5", Kind::Set, 0),
        part(text, "SELECT 1", Kind::Select, 0),
    ];
    assert_eq!(
        all(text, &statements),
        [
            "SELECT ( (SELECT MAX(x) FROM d.t))",
            "SELECT ( 'a')",
            // Typed, and a constant of what is declared before.
            "no need",
            "DECLARE b, c DEFAULT 'a';\nSELECT b, 'e', @a /* e */",
            "DECLARE a INT64 ;\nDECLARE e INT64 DEFAULT a + 1;\nSELECT e",
            "DECLARE a INT64 ;\nSELECT A",
            "DECLARE a INT64 ;\nSET a = 5",
            "SELECT 1",
        ]
    );
}

#[test]
fn the_nearer_declaration_hides_the_farther_and_a_block_that_is_over_is_not_seen() {
    let text = "DECLARE x INT64; BEGIN DECLARE x STRING; SELECT x; END; BEGIN DECLARE y BOOL; END; SELECT x, y;";
    let statements = [
        declares(text, "DECLARE x INT64", &["x"], 0),
        part(text, "BEGIN DECLARE x STRING; SELECT x; END", Kind::Block, 0),
        declares(text, "DECLARE x STRING", &["x"], 1),
        part(text, "SELECT x", Kind::Select, 1),
        part(text, "BEGIN DECLARE y BOOL; END", Kind::Block, 0),
        declares(text, "DECLARE y BOOL", &["y"], 1),
        part(text, "SELECT x, y", Kind::Select, 0),
    ];
    let asked = all(text, &statements);
    assert_eq!(asked[3], "DECLARE x STRING;\nSELECT x");
    assert_eq!(asked[6], "DECLARE x INT64;\nSELECT x, y");
    assert_eq!([&asked[0], &asked[1]], ["no need", "no need"]);
}

#[test]
fn control_statements_are_asked_by_their_expressions() {
    let text = "IF a > 1 THEN SELECT 1; ELSEIF b THEN SELECT 2; END IF; FOR r IN (SELECT id FROM d.t) DO UPDATE d.u SET n = r.id WHERE TRUE; END FOR; LOOP BREAK; END LOOP; BEGIN TRANSACTION;";
    let range = |of: &str| text.find(of).map(|at| at..at + of.len()).unwrap();
    let mut branch = part(
        text,
        "IF a > 1 THEN SELECT 1; ELSEIF b THEN SELECT 2; END IF",
        Kind::If,
        0,
    );
    branch.expressions = vec![range("a > 1"), range("b THEN").start..range("b THEN").start + 1];
    let mut over = part(
        text,
        "FOR r IN (SELECT id FROM d.t) DO UPDATE d.u SET n = r.id WHERE TRUE; END FOR",
        Kind::For,
        0,
    );
    over.expressions = vec![range("SELECT id FROM d.t")];
    over.variables = vec!["r".to_owned()];
    let statements = [
        branch,
        part(text, "SELECT 1", Kind::Select, 1),
        over,
        part(text, "UPDATE d.u SET n = r.id WHERE TRUE", Kind::Update, 1),
        part(text, "LOOP BREAK; END LOOP", Kind::Loop, 0),
        part(text, "BREAK", Kind::Jump, 1),
        part(text, "BEGIN TRANSACTION", Kind::BeginTransaction, 0),
    ];
    assert_eq!(
        all(text, &statements),
        [
            "SELECT (a > 1), (b)",
            "SELECT 1",
            "SELECT id FROM d.t",
            "unknowable: uses r, the variable of the FOR of line 1",
            "no need",
            "no need",
            "no need",
        ]
    );
    let script = Script::new(text, &statements);
    assert_eq!(
        [1, 3, 5, 6].map(|number| script.is_in_a_loop(number)),
        [false, true, true, false]
    );
}

#[test]
fn what_lives_no_longer_than_the_script() {
    let text = "DECLARE v INT64; CREATE TEMP FUNCTION one() AS (1); CREATE TEMP FUNCTION two() AS (one() + 1); \
                CREATE TEMP TABLE x AS SELECT 5 AS a; CREATE TEMP TABLE y (a INT64); SELECT two(); SELECT two(), v; \
                SET @@time_zone = 'UTC'; SELECT 7;";
    let temporary = |of: &str, kind| Statement {
        effects: vec![Effect {
            deed: Deed::Create,
            object: Object::Table,
            name: None,
            temporary: true,
        }],
        ..part(text, of, kind, 0)
    };
    let mut made = temporary("CREATE TEMP TABLE x AS SELECT 5 AS a", Kind::CreateTableAsSelect);
    made.query = text.find("SELECT 5 AS a").map(|at| at..at + 13);
    let statements = [
        declares(text, "DECLARE v INT64", &["v"], 0),
        temporary("CREATE TEMP FUNCTION one() AS (1)", Kind::CreateFunction),
        temporary("CREATE TEMP FUNCTION two() AS (one() + 1)", Kind::CreateFunction),
        made,
        temporary("CREATE TEMP TABLE y (a INT64)", Kind::CreateTable),
        part(text, "SELECT two()", Kind::Select, 0),
        part(text, "SELECT two(), v", Kind::Select, 0),
        part(text, "SET @@time_zone = 'UTC'", Kind::Set, 0),
        part(text, "SELECT 7", Kind::Select, 0),
    ];
    let one = "CREATE TEMP FUNCTION one() AS (1);\n";
    let two = "CREATE TEMP FUNCTION two() AS (one() + 1);\n";
    assert_eq!(
        all(text, &statements)[1..],
        [
            format!("{one}SELECT 1"),
            format!("{one}{two}SELECT 1"),
            "SELECT 5 AS a".to_owned(),
            "unknowable: BigQuery dry-runs no temporary table".to_owned(),
            format!("{one}{two}SELECT two()"),
            format!("DECLARE v INT64;\n{one}{two}SELECT two(), v (stops)"),
            "no need".to_owned(),
            "SET @@time_zone = 'UTC';\nSELECT 7".to_owned(),
        ]
    );
}

#[test]
fn each_piece_gets_the_parameters_that_stand_in_it() {
    let text = "SELECT ?, '?', ?; SELECT ?; SELECT 1";
    let statements =
        ["SELECT ?, '?', ?", "SELECT ?;", "SELECT 1"].map(|of| part(text, of.trim_end_matches(';'), Kind::Select, 0));
    let mut statements = statements;
    // The second `SELECT ?` is the one behind the first semicolon.
    let second = text.rfind("SELECT ?").unwrap();
    statements[1].range = second..second + 8;
    let params = [1, 2, 3].map(|n| json!({ "parameterValue": { "value": n } }));
    let script = Script::new(text, &statements);
    let got = |ask: &Ask| match ask {
        Ask::Piece(piece) => piece
            .params
            .iter()
            .map(|p| p["parameterValue"]["value"].as_u64().unwrap())
            .collect(),
        _ => Vec::new(),
    };
    assert_eq!(
        script
            .asks(&params, &BTreeSet::new())
            .iter()
            .map(got)
            .collect::<Vec<_>>(),
        [vec![1, 2], vec![3], vec![]]
    );
    let named = [json!({ "name": "a" }), json!({ "name": "b" })];
    for ask in script.asks(&named, &BTreeSet::new()) {
        assert!(matches!(ask, Ask::Piece(piece) if piece.params.len() == 2));
    }
}

/// With the reader itself: blocks, handlers and all.
#[test]
fn a_whole_script_is_asked_about_piece_by_piece() {
    let text = "DECLARE n INT64 DEFAULT 0;
BEGIN
  SET n = (SELECT COUNT(*) FROM d.t);
  CASE WHEN n > 5 THEN DELETE FROM d.t WHERE id > n; ELSE SELECT 2; END CASE;
  WHILE n > 0 DO SET n = n - 1; END WHILE;
EXCEPTION WHEN ERROR THEN
  SELECT @@error.message;
  RAISE;
END;
BEGIN TRANSACTION;
UPDATE d.t SET id = n WHERE TRUE;
COMMIT TRANSACTION;
CREATE PROCEDURE d.p() BEGIN SELECT 1; END;
GRANT `roles/bigquery.dataViewer` ON TABLE d.t TO 'user:a@b.c';";
    let statements = crate::script::read(text).unwrap();
    let script = Script::new(text, &statements);
    let asked: Vec<(&str, String)> = statements
        .iter()
        .map(|s| s.kind.as_str())
        .zip(script.asks(&[], &BTreeSet::new()).iter().map(sent))
        .collect();
    let with = |what: &str| format!("DECLARE n INT64 DEFAULT 0;\n{what}");
    let no_need = || "no need".to_owned();
    assert_eq!(
        asked,
        [
            ("DECLARE", no_need()),
            ("BEGIN", no_need()),
            ("SET", with("SET n = (SELECT COUNT(*) FROM d.t)")),
            ("CASE", with("SELECT (n > 5)")),
            ("DELETE", with("DELETE FROM d.t WHERE id > n")),
            ("SELECT", "SELECT 2".to_owned()),
            ("WHILE", with("SELECT (n > 0)")),
            ("SET", with("SET n = n - 1")),
            (
                "SELECT",
                "unknowable: reads @@error, which only a handler has".to_owned()
            ),
            ("RAISE", no_need()),
            ("BEGIN_TRANSACTION", no_need()),
            ("UPDATE", with("UPDATE d.t SET id = n WHERE TRUE")),
            ("COMMIT_TRANSACTION", no_need()),
            (
                "CREATE_PROCEDURE",
                "CREATE PROCEDURE d.p() BEGIN SELECT 1; END".to_owned()
            ),
            (
                "GRANT",
                "GRANT `roles/bigquery.dataViewer` ON TABLE d.t TO 'user:a@b.c'".to_owned()
            ),
        ]
    );
}

#[test]
fn what_is_behind_a_temporary_function_is_asked_by_its_query() {
    let text = "CREATE TEMP FUNCTION f() AS (1); SELECT f(); INSERT INTO d.t (a) SELECT f(); INSERT INTO d.t VALUES (f());
CREATE TABLE d.u AS SELECT f() AS a; UPDATE d.t SET a = f() WHERE TRUE; EXPORT DATA OPTIONS (uri = 'x') AS (SELECT f()); ASSERT f() = 1";
    let statements = crate::script::read(text).unwrap();
    let asks = Script::new(text, &statements).asks(&[], &BTreeSet::new());
    let with = |what: &str, stops: bool| {
        let stops = if stops { " (stops)" } else { "" };
        format!("CREATE TEMP FUNCTION f() AS (1);\n{what}{stops}")
    };
    assert_eq!(
        asks.iter().map(sent).collect::<Vec<_>>(),
        [
            with("SELECT 1", false),
            with("SELECT f()", false),
            with("SELECT f()", true),
            with("INSERT INTO d.t VALUES (f())", true),
            with("SELECT f() AS a", true),
            with("UPDATE d.t SET a = f() WHERE TRUE", true),
            with("(SELECT f())", true),
            with("ASSERT f() = 1", true),
        ]
    );
    let itself = |ask: &Ask| matches!(ask, Ask::Piece(piece) if piece.is_itself);
    assert_eq!(asks.iter().map(itself).filter(|is| *is).count(), 1, "the SELECT");
}

#[test]
fn where_only_the_target_is_in_doubt_the_query_is_asked() {
    let text = "INSERT INTO d.t (a, `select`) WITH x AS (SELECT 1 AS a) SELECT a, 2 FROM x";
    let statements = crate::script::read(text).unwrap();
    let script = Script::new(text, &statements);
    assert_eq!(
        script.asks(&[], &BTreeSet::new()).iter().map(sent).collect::<Vec<_>>(),
        ["whole"]
    );
    assert_eq!(
        script
            .asks(&[], &BTreeSet::from([0]))
            .iter()
            .map(sent)
            .collect::<Vec<_>>(),
        ["WITH x AS (SELECT 1 AS a) SELECT a, 2 FROM x"]
    );
}

#[test]
fn a_text_is_asked_once_and_not_more_than_so_many() {
    let text = "SELECT 1; SELECT 2; SELECT 1; SELECT 3; CALL d.p(); SELECT 2";
    let statements = crate::script::read(text).unwrap();
    let mut asks = Script::new(text, &statements).asks(&[], &BTreeSet::new());
    let mut left = 2;
    assert_eq!(distinct(&mut asks, &mut left), [vec![0, 2], vec![1, 5]]);
    assert_eq!(left, 0);
    assert_eq!(
        sent(&asks[3]),
        format!("unknowable: not asked: there are more than {MOST} statements")
    );
    assert_eq!(distinct(&mut asks[..1], &mut left), Vec::<Vec<usize>>::new());
}
