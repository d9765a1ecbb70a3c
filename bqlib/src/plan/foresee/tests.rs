use serde_json::json;

use super::*;
use crate::names::DatasetRef;
use crate::script::{Effect, Name, Object};

fn name(text: &str) -> TableRef {
    TableRef::parse(text, None).unwrap()
}

fn table(text: &str) -> Thing {
    Thing::Table(name(text))
}

fn dataset(text: &str) -> Thing {
    Thing::Dataset(DatasetRef::parse(text, &"p".parse().unwrap()).unwrap())
}

fn given() -> Given {
    Given {
        protected: [name("p.d.t")].into(),
        snapshots: [name("p.s.t_snapshot_r")].into(),
        ..Given::default()
    }
}

/// `p.d.there` and the like exist, `p.d.none` and the like do not.
fn there() -> There {
    let mut there = There::default();
    there.tables.insert(name("p.d.there"), Some(Table::of(&json!({}))));
    there.tables.insert(
        name("p.d.view"),
        Some(Table::of(&json!({ "type": "MATERIALIZED_VIEW" }))),
    );
    there.tables.insert(name("p.d.none"), None);
    there.others.insert(dataset("none"), false);
    there.others.insert(dataset("e"), true);
    for (word, is) in [("there", true), ("none", false)] {
        there.others.insert(Thing::Routine(name(&format!("p.d.{word}"))), is);
        there.others.insert(Thing::Model(name(&format!("p.d.{word}"))), is);
    }
    there
}

fn statement(kind: Kind) -> Statement {
    Statement {
        range: 3..9,
        kind,
        depth: 0,
        conditional: false,
        effects: Vec::new(),
        reads: Vec::new(),
        expressions: Vec::new(),
        query: None,
        variables: Vec::new(),
        parts: Vec::new(),
    }
}

fn against(kind: Kind, deed: Deed, thing: &Thing, given: &Given) -> Vec<Objection> {
    let deeds = Deeds {
        effects: vec![(deed, thing.clone())],
        ..Deeds::default()
    };
    objections(0, "", &[statement(kind)], &[deeds], given, &there())
}

/// A flag without the name behind it; `never`: none helps; nothing: it passes.
fn flag(kind: Kind, deed: Deed, thing: &Thing, given: &Given) -> String {
    match against(kind, deed, thing, given).as_slice() {
        [] => String::new(),
        [one] if one.flags.is_empty() => "never".to_owned(),
        [one] => {
            let flags = one.flags.iter().map(|flag| flag.split(' ').next().unwrap());
            flags.collect::<Vec<_>>().join(" ")
        }
        more => panic!("{more:?}"),
    }
}

#[test]
fn each_deed_to_each_thing() {
    use Deed::*;
    let routine = |text: &str| Thing::Routine(name(text));
    let model = |text: &str| Thing::Model(name(text));
    let other = || Thing::Other("export data".to_owned());
    for (kind, deed, thing, want) in [
        (Kind::Update, Write, table("p.d.t"), ""),
        (Kind::CreateTable, Replace, table("p.d.t"), ""),
        (Kind::DropTable, Drop, table("p.d.t"), ""),
        (Kind::Update, Write, table("p.d.there"), "--allow-unprotected"),
        (Kind::CreateTable, Replace, table("p.d.there"), "--allow-unprotected"),
        (Kind::DropTable, Drop, table("p.d.there"), "--allow-unprotected"),
        (Kind::CreateView, Replace, table("p.d.view"), "--allow-unprotected"),
        // What is made where something is either fails or does nothing.
        (Kind::CreateTable, Create, table("p.d.there"), ""),
        (Kind::CreateTable, Create, table("p.d.none"), ""),
        (Kind::CreateTable, Replace, table("p.d.none"), ""),
        (Kind::LoadData, Write, table("p.d.none"), ""),
        (Kind::DropTable, Drop, table("p.d.none"), ""),
        // Not looked up counts as there.
        (Kind::Update, Write, table("p.d.unasked"), "--allow-unprotected"),
        (
            Kind::CreateFunction,
            Replace,
            routine("p.d.there"),
            "--allow-unprotected",
        ),
        (Kind::CreateFunction, Replace, routine("p.d.none"), ""),
        (Kind::DropFunction, Drop, routine("p.d.there"), "--allow-unprotected"),
        // A routine of a protected table's name is no protected table.
        (Kind::DropFunction, Drop, routine("p.d.t"), "--allow-unprotected"),
        (Kind::CreateModel, Replace, model("p.d.there"), "--allow-unprotected"),
        (Kind::CreateModel, Replace, model("p.d.none"), ""),
        (Kind::CreateSchema, Create, dataset("new"), ""),
        (
            Kind::DropSchema,
            Drop,
            dataset("e"),
            "--allow-unprotected --allow-irreversible",
        ),
        (
            Kind::AlterSchema,
            Write,
            dataset("e"),
            "--allow-unprotected --allow-irreversible",
        ),
        (Kind::DropSchema, Drop, dataset("none"), ""),
        (Kind::AlterSchema, Write, dataset("d"), "--allow-irreversible"),
        (Kind::ExportData, Beyond, other(), "--allow-irreversible"),
        (Kind::Grant, Beyond, table("p.d.t"), "--allow-irreversible"),
        (
            Kind::CreateProcedure,
            Beyond,
            routine("p.d.none"),
            "--allow-irreversible",
        ),
        (Kind::Update, Write, Thing::Unknown("t".into()), "--allow-opaque"),
        (Kind::CreateTable, Create, Thing::Unknown("t".into()), ""),
        (Kind::Insert, Write, Thing::Temporary("t".into()), ""),
        (Kind::DropTable, Drop, Thing::Unknown("T_Snapshot_r".into()), "never"),
        (Kind::DropTable, Drop, Thing::Unknown("s.t_snapshot_r".into()), "never"),
        (
            Kind::DropTable,
            Drop,
            Thing::Unknown("s.t_snapshot_r2".into()),
            "--allow-opaque",
        ),
        (Kind::DropTable, Drop, table("p.s.t_snapshot_r"), "never"),
        (Kind::Delete, Write, table("p.s.t_snapshot_r"), "never"),
        (Kind::CreateTable, Replace, table("p.s.t_snapshot_r"), "never"),
        (Kind::RenameTable, Drop, table("p.s.t_snapshot_r"), "never"),
        (Kind::DropSchema, Drop, dataset("s"), "never"),
        (Kind::DropSchema, Drop, dataset("d"), "never"),
    ] {
        assert_eq!(flag(kind, deed, &thing, &given()), want, "{kind} {deed:?} {thing:?}");
        let unprotected = Given {
            unprotected: true,
            ..given()
        };
        assert_eq!(
            flag(kind, deed, &thing, &unprotected),
            "",
            "{kind} {thing}: nothing is guarded"
        );
    }
}

#[test]
fn what_is_not_known_is_opaque() {
    for kind in [Kind::Call, Kind::ExecuteImmediate, Kind::Opaque] {
        let found = |given: &Given| objections(0, "", &[statement(kind)], &[Deeds::default()], given, &there());
        assert_eq!(found(&given())[0].flags, ["--allow-opaque"], "{kind}");
        assert_eq!(
            found(&Given {
                opaque: true,
                ..given()
            }),
            [],
            "{kind}"
        );
        // What it is does not matter, if it names what the rollback rests on.
        let all = Given {
            opaque: true,
            irreversible: true,
            ..given()
        };
        for (text, ours) in [
            ("1; DROP TABLE `s.T_snapshot_r`;", true),
            ("1; 's' || 't_snapshot_r' || '';", true),
            ("1; DROP TABLE s.t_snapshot_r2; t_snapshot_r", false),
        ] {
            let one = Statement {
                range: 3..text.rfind(';').unwrap_or(text.len()),
                ..statement(kind)
            };
            let found = objections(0, text, &[one], &[Deeds::default()], &all, &there());
            assert_eq!(found.iter().any(|one| one.flags.is_empty()), ours, "{kind}: {text}");
            assert_eq!(found.len(), usize::from(ours), "{kind}: {text}");
        }
    }
}

#[test]
fn a_dataset_outside_is_dropped_only_by_name() {
    let passes = |name: &str, irreversible| {
        let given = Given {
            allowed_datasets: [DatasetRef::parse(name, &"p".parse().unwrap()).unwrap()].into(),
            irreversible,
            ..given()
        };
        flag(Kind::DropSchema, Deed::Drop, &dataset("e"), &given)
    };
    assert_eq!(passes("e", true), "");
    assert_eq!(passes("e", false), "--allow-irreversible");
    assert_eq!(passes("q.e", true), "--allow-unprotected");
    let found = against(Kind::DropSchema, Deed::Drop, &dataset("e"), &given());
    let hint = refusal(&found, |_| String::new()).unwrap().hint;
    assert_eq!(
        hint,
        "if that is meant, say `--allow-unprotected p.e --allow-irreversible`; nothing was submitted"
    );
}

#[test]
fn what_bigquery_takes_for_another_statement_is_opaque() {
    let reading = |table: Option<&str>| Reading {
        kind: "DROP_TABLE".to_owned(),
        table: table.map(name),
    };
    let found = |table, given: &Given| misread((0, 2), &statement(Kind::Select), &reading(table), given);
    let one = found(Some("p.d.u"), &given()).unwrap();
    assert_eq!(
        one.what,
        "(SELECT) is DROP TABLE of `p.d.u` to BigQuery: what it does is not known"
    );
    assert_eq!((one.statement, one.flags), (2, vec!["--allow-opaque".to_owned()]));
    let opaque = Given {
        opaque: true,
        ..given()
    };
    assert_eq!(found(None, &opaque), None);
    let ours = found(Some("p.s.t_snapshot_r"), &opaque).unwrap();
    assert_eq!(ours.flags, Vec::<String>::new());
}

#[test]
fn each_flag_lets_its_own_thing_pass_and_no_other() {
    let outside = (Kind::Update, Deed::Write, table("p.d.there"));
    let beyond = (Kind::ExportData, Deed::Beyond, Thing::Other("export data".to_owned()));
    let opaque = (Kind::Insert, Deed::Write, Thing::Unknown("t".to_owned()));
    let ours = (Kind::DropTable, Deed::Drop, table("p.s.t_snapshot_r"));
    let flags = [
        Given {
            allowed: [name("p.d.there"), name("p.s.t_snapshot_r")].into(),
            ..given()
        },
        Given {
            allowed: [name("p.d.other")].into(),
            ..given()
        },
        Given {
            irreversible: true,
            ..given()
        },
        Given {
            opaque: true,
            ..given()
        },
    ];
    let passes = |given: &Given| [&outside, &beyond, &opaque, &ours].map(|(k, d, t)| flag(*k, *d, t, given).is_empty());
    let want = [
        [true, false, false, false],
        [false, false, false, false],
        [false, true, false, false],
        [false, false, true, false],
    ];
    assert_eq!(flags.each_ref().map(passes), want);
}

#[test]
fn only_what_decides_is_looked_up() {
    let deeds = Deeds {
        effects: vec![
            (Deed::Write, table("p.d.t")),
            (Deed::Write, table("p.d.u")),
            (Deed::Create, table("p.d.new")),
            (Deed::Drop, table("p.s.t_snapshot_r")),
            (Deed::Drop, Thing::Routine(name("p.d.t"))),
            (Deed::Beyond, table("p.d.v")),
            (Deed::Create, dataset("e")),
            (Deed::Drop, dataset("f")),
            (Deed::Write, Thing::Temporary("x".into())),
        ],
        ..Deeds::default()
    };
    let wanted = to_look_up([&deeds], &given());
    let want = [
        table("p.d.new"),
        table("p.d.u"),
        Thing::Routine(name("p.d.t")),
        dataset("e"),
        dataset("f"),
    ];
    assert_eq!(wanted, want.into());
    assert!(
        to_look_up(
            [&deeds],
            &Given {
                unprotected: true,
                ..given()
            }
        )
        .is_empty()
    );
}

#[test]
fn a_refusal_names_all_and_what_to_type() {
    let mut update = statement(Kind::Update);
    update.effects = vec![Effect {
        deed: Deed::Write,
        object: Object::Table,
        name: Some(Name {
            parts: vec!["d".into(), "there".into()],
            range: 5..8,
        }),
        temporary: false,
    }];
    let deeds = Deeds {
        effects: vec![(Deed::Write, table("p.d.there"))],
        ..Deeds::default()
    };
    let all = [update.clone(), statement(Kind::Call), update];
    let found = objections(
        0,
        "",
        &all,
        &[deeds.clone(), Deeds::default(), deeds],
        &given(),
        &there(),
    );
    let failure = refusal(&found, |objection| format!("m.sql, byte {}", objection.at)).unwrap();
    assert_eq!(
        failure.to_string(),
        "statement 1 (UPDATE) writes table `p.d.there`, which is not protected; statement 2 (m.sql, byte 3) (CALL): \
         what it does is not known; statement 3 (m.sql, byte 5) (UPDATE) writes table `p.d.there`, which is not protected\n\
         at: m.sql, byte 5\n\
         hint: protect it too (bq-snap), or say `--allow-unprotected p.d.there --allow-opaque`; nothing was submitted"
    );
    assert_eq!(failure.table, Some(name("p.d.there")));
    let many = vec![found[1].clone(); 20];
    let failure = refusal(&many, |_| String::new()).unwrap();
    assert!(failure.what.ends_with("; and 12 more"), "{}", failure.what);
    assert!(!failure.hint.contains("protect it"), "{}", failure.hint);
    assert!(refusal(&[], |_| String::new()).is_none());
}
