//! PURE: which rights a run and its rollback need, what BigQuery said of them, and what that means. Knows no request:
//! `asking` asks.
//!
//! The rights and their sources are in `docs/permissions.md`.

use std::collections::BTreeSet;

use bqlib::api::ApiError;
use bqlib::names::{DatasetRef, ProjectId, TableRef};

use crate::preflight::Finding;

/// The smallest of Google's roles that holds a right, the widest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    DataViewer,
    DataEditor,
    DataOwner,
    Admin,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::DataViewer => "roles/bigquery.dataViewer",
            Role::DataEditor => "roles/bigquery.dataEditor",
            Role::DataOwner => "roles/bigquery.dataOwner",
            Role::Admin => "roles/bigquery.admin",
        }
    }
}

/// A right that a run or its rollback needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    /// As IAM calls it.
    pub(crate) name: &'static str,
    /// What it is needed for.
    pub(crate) why: &'static str,
    role: Role,
}

const fn right(name: &'static str, role: Role, why: &'static str) -> Right {
    Right { name, why, role }
}

/// A right on a dataset, for which BigQuery's API has no question; asked of a table, nobody knows what the answer means. It is not asked for:
/// the first snapshot tells, before anything is migrated.
pub(crate) const OF_DATASETS: &str = "bigquery.tables.create";

/// On the project that jobs run in.
pub(crate) const JOBS: &str = "bigquery.jobs.create";

/// On a protected table; its own dataset takes the copies that bq-restore keeps, and those always expire.
const TABLE: [Right; 7] = [
    right("bigquery.tables.get", Role::DataViewer, "to read it"),
    right("bigquery.tables.getData", Role::DataViewer, "to count and snapshot it"),
    right("bigquery.tables.createSnapshot", Role::DataViewer, "to snapshot it"),
    right("bigquery.tables.update", Role::DataEditor, "to put its options back"),
    right("bigquery.tables.updateData", Role::DataEditor, "to put its rows back"),
    right(
        "bigquery.tables.delete",
        Role::DataEditor,
        "to put back what expires or was partitioned anew",
    ),
    right(
        "bigquery.tables.deleteSnapshot",
        Role::DataOwner,
        "the copies that a rollback keeps expire",
    ),
];

/// Where the snapshots are.
const RESTORE: Right = right(
    "bigquery.tables.restoreSnapshot",
    Role::DataEditor,
    "to restore a snapshot",
);

/// In a dataset of the snapshots' own.
const APART: [Right; 4] = [
    right("bigquery.tables.get", Role::DataViewer, "to read snapshots back"),
    right(
        "bigquery.tables.getData",
        Role::DataViewer,
        "to count and restore snapshots",
    ),
    right("bigquery.tables.updateData", Role::DataEditor, "to make snapshots"),
    // Without it an accepted run's snapshots stay open, and keep every other run off its tables.
    right(
        "bigquery.tables.update",
        Role::DataEditor,
        "to say on the snapshots how their run ended",
    ),
];

const EXPIRE: Right = right("bigquery.tables.deleteSnapshot", Role::DataOwner, "snapshots expire");

/// On a table that has row access policies; sources 7 and 8 of `docs/permissions.md`.
const POLICIES: [Right; 3] = [
    right(
        "bigquery.rowAccessPolicies.list",
        Role::DataOwner,
        "to copy the table's policies",
    ),
    right(
        "bigquery.rowAccessPolicies.getIamPolicy",
        Role::DataOwner,
        "to copy the table's policies",
    ),
    right(
        "bigquery.rowAccessPolicies.overrideTimeTravelRestrictions",
        Role::Admin,
        "to read the table as of the cut",
    ),
];

/// Where copies of such a table are made.
const POLICIES_OF_COPIES: [Right; 2] = [
    right(
        "bigquery.rowAccessPolicies.create",
        Role::DataOwner,
        "to copy the table's policies",
    ),
    right(
        "bigquery.rowAccessPolicies.setIamPolicy",
        Role::DataOwner,
        "to copy the table's policies",
    ),
];

/// The rights on a protected table: on its dataset too, if that takes the snapshots, and for its row policies, if it has
/// any.
pub(crate) fn on_table(apart: bool, policies: bool) -> Vec<Right> {
    let mut rights = TABLE.to_vec();
    if !apart {
        rights.push(RESTORE);
    }
    if policies {
        rights.extend(POLICIES);
        // The copies that a rollback keeps are beside the table, wherever its snapshots are.
        rights.extend(POLICIES_OF_COPIES);
    }
    rights
}

/// The rights in a dataset that only takes snapshots, asked for on something in it.
pub(crate) fn on_snapshots(expire: bool, policies: bool) -> Vec<Right> {
    let mut rights = APART.to_vec();
    rights.push(RESTORE);
    if expire {
        rights.push(EXPIRE);
    }
    if policies {
        rights.extend(POLICIES_OF_COPIES);
    }
    rights
}

/// What BigQuery said about rights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// It tested `asked`, and the caller has `held`.
    Told {
        asked: BTreeSet<&'static str>,
        held: BTreeSet<String>,
    },
    /// It cannot be asked: why.
    Silent(String),
}

impl Answer {
    /// Whether an endpoint that gives it tests rights at all.
    pub(crate) fn tells(&self) -> bool {
        matches!(self, Answer::Told { held, .. } if !held.is_empty())
    }

    /// What it says of these rights: those that are lacking, and those that were not tested.
    pub(crate) fn of(&self, wanted: &[Right]) -> (Vec<Right>, Vec<Right>) {
        let Answer::Told { asked, held } = self else {
            return (Vec::new(), wanted.to_vec());
        };
        let (tested, untested): (Vec<Right>, Vec<Right>) =
            wanted.iter().copied().partition(|right| asked.contains(right.name));
        let lacking = tested.into_iter().filter(|right| !held.contains(right.name));
        (lacking.collect(), untested)
    }
}

/// Why an endpoint cannot be asked for rights, if its refusal of the question says that. Any other failure is one.
pub(crate) fn silent(error: &ApiError) -> Option<String> {
    error.lacks_the_method().then(|| error.to_string())
}

/// Where rights were asked for, and for what.
pub(crate) struct Place<'a> {
    /// What was asked about.
    pub(crate) on: &'a TableRef,
    /// How many tables it stands for, itself included; none: for the snapshots that are to be made beside it.
    pub(crate) of: Option<usize>,
}

impl Place<'_> {
    fn told(&self) -> String {
        let dataset = self.on.dataset_ref();
        match self.of {
            None => format!("dataset {dataset}, asked of `{}` in it", self.on.table),
            Some(1) => format!("table {}", self.on),
            Some(n) => format!("table {}, asked for the {n} tables in {dataset}", self.on),
        }
    }
}

/// What is to be said of rights that are lacking: nothing if none is.
pub(crate) fn of_rights(place: &Place<'_>, lacking: &[Right]) -> Option<Finding> {
    if lacking.is_empty() {
        return None;
    }
    let subject = match place.of {
        Some(_) => format!("`{}`", place.on),
        None => format!("the snapshots in `{}`", place.on.dataset_ref()),
    };
    let what = format!("a run over {subject} could not be undone: {}", listed(lacking));
    let finding = Finding::refusal(what, place.told(), grant(place, lacking));
    Some(match place.of {
        Some(_) => finding.about(place.on),
        None => finding,
    })
}

/// `the rights A (what for), B (what for) are lacking`.
fn listed(rights: &[Right]) -> String {
    let one = |right: &Right| format!("`{}` ({})", right.name, right.why);
    let all: Vec<String> = rights.iter().map(one).collect();
    let (noun, verb) = if all.len() == 1 {
        ("right", "is")
    } else {
        ("rights", "are")
    };
    format!("the {noun} {} {verb} lacking", all.join(", "))
}

/// How to come by them.
fn grant(place: &Place<'_>, rights: &[Right]) -> String {
    let role = rights.iter().map(|right| right.role).max().unwrap_or(Role::DataOwner);
    let DatasetRef { project, dataset } = place.on.dataset_ref();
    // The one role that no dataset can be given.
    if role == Role::Admin {
        return format!(
            "gcloud projects add-iam-policy-binding {project} --member='user:WHO' --role='{}'; \
             a smaller role of your own: docs/permissions.md",
            role.name()
        );
    }
    format!(
        "bq query --use_legacy_sql=false 'GRANT `{}` ON SCHEMA `{project}`.`{dataset}` TO \"user:WHO\"'; \
         smaller roles of your own: docs/permissions.md",
        role.name()
    )
}

/// What is to be said of a project in which no job may be run.
pub(crate) fn of_jobs(project: &ProjectId, why: &str) -> Finding {
    let hint = format!(
        "gcloud projects add-iam-policy-binding {project} --member='user:WHO' --role='roles/bigquery.jobUser'; \
         or name another project with `-p`"
    );
    let what = format!("no job may be run: the right `{JOBS}` is lacking: {why}");
    Finding::refusal(what, format!("project {project}"), hint)
}

/// What is to be said if rights cannot be tested: once, whatever the number of tables.
pub(crate) fn untested(why: &str, endpoint: &str) -> Finding {
    let what = format!("the rights to snapshot and restore could not be tested beforehand: {why}");
    let hint = "nothing, if you know that they are there; else compare them with docs/permissions.md";
    Finding::warning(what, endpoint, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bqlib::api::Kind;
    use bqlib::exit::Exit;

    fn table(name: &str) -> TableRef {
        TableRef::parse(name, None).unwrap()
    }

    fn told(asked: &[Right], without: &[&str]) -> Answer {
        let held = asked.iter().filter(|right| !without.contains(&right.name));
        Answer::Told {
            asked: asked.iter().map(|right| right.name).collect(),
            held: held.map(|right| right.name.to_owned()).collect(),
        }
    }

    fn error(kind: Kind) -> ApiError {
        ApiError::new(kind, String::new(), false)
    }

    #[test]
    fn each_right_that_is_lacking_refuses_and_is_named_with_its_role() {
        for (wanted, of) in [(on_table(false, true), Some(3)), (on_snapshots(true, true), None)] {
            assert_eq!(told(&wanted, &[]).of(&wanted), (vec![], vec![]));
            for right in &wanted {
                let (lacking, untested) = told(&wanted, &[right.name]).of(&wanted);
                assert_eq!((lacking.as_slice(), untested.as_slice()), (&[*right][..], &[][..]));
                let place = Place {
                    on: &table("p.d.t"),
                    of,
                };
                let finding = of_rights(&place, &lacking).unwrap();
                assert!(finding.refuses, "{}", right.name);
                assert!(finding.failure.what.contains(right.name), "{:?}", finding.failure);
                assert!(
                    finding.failure.hint.contains(right.role.name()),
                    "{:?}",
                    finding.failure
                );
                assert_eq!(finding.failure.table.is_some(), of.is_some());
                assert_eq!(finding.failure.exit, Exit::Refused);
            }
        }
    }

    #[test]
    fn what_is_wanted() {
        // apart, snapshots expire, row policies, on tables, on snapshots: the rights that come and go
        let has = |rights: Vec<Right>, name: &str| rights.iter().any(|right| right.name.ends_with(name));
        for (apart, expire, policies) in [
            (false, true, false),
            (true, true, false),
            (true, false, false),
            (true, true, true),
        ] {
            let what = format!("{apart} {expire} {policies}");
            // The copies that a rollback keeps are beside the table and expire, whatever becomes of the snapshots.
            assert!(has(on_table(apart, policies), "deleteSnapshot"), "{what}");
            assert!(!has(on_table(apart, policies), OF_DATASETS), "{what}");
            assert_eq!(has(on_table(apart, policies), "restoreSnapshot"), !apart, "{what}");
            assert_eq!(has(on_table(apart, policies), "Restrictions"), policies, "{what}");
            assert_eq!(has(on_snapshots(expire, policies), "deleteSnapshot"), expire, "{what}");
            assert_eq!(
                has(on_snapshots(expire, policies), "rowAccessPolicies.create"),
                policies,
                "{what}"
            );
        }
    }

    #[test]
    fn several_rights_are_one_finding_with_the_widest_role() {
        let wanted = on_table(false, false);
        let (lacking, _) = told(
            &wanted,
            &["bigquery.tables.createSnapshot", "bigquery.tables.deleteSnapshot"],
        )
        .of(&wanted);
        let on = table("p.d.t");
        let finding = of_rights(&Place { on: &on, of: Some(2) }, &lacking).unwrap();
        assert_eq!(
            finding.failure.to_string(),
            "a run over `p.d.t` could not be undone: the rights `bigquery.tables.createSnapshot` (to snapshot it), \
             `bigquery.tables.deleteSnapshot` (the copies that a rollback keeps expire) are lacking\n\
             at: table p.d.t, asked for the 2 tables in p.d\n\
             hint: bq query --use_legacy_sql=false 'GRANT `roles/bigquery.dataOwner` ON SCHEMA `p`.`d` TO \"user:WHO\"'; \
             smaller roles of your own: docs/permissions.md"
        );
    }

    #[test]
    fn a_right_that_was_not_tested_is_not_lacking() {
        let wanted = on_table(false, false);
        let (lacking, untested) = told(&wanted[1..], &[]).of(&wanted);
        assert_eq!((lacking, untested), (vec![], vec![wanted[0]]));
        let silent = Answer::Silent("no such method".to_owned());
        assert_eq!(silent.of(&wanted), (vec![], wanted.clone()));
        assert!(!silent.tells() && told(&wanted, &[]).tells());
        let nothing = Answer::Told {
            asked: wanted.iter().map(|r| r.name).collect(),
            held: BTreeSet::new(),
        };
        assert!(!nothing.tells());
    }

    #[test]
    fn an_endpoint_without_the_method_is_told_from_trouble() {
        let answer = |status, reason: &str| {
            error(Kind::Answer {
                status,
                reason: reason.into(),
                message: "m".into(),
            })
        };
        let page = |status| {
            error(Kind::NotBigQuery {
                status,
                body: "<html>".into(),
            })
        };
        for (error, is) in [
            (answer(404, "notFound"), true),
            (answer(405, ""), true),
            (answer(501, "notImplemented"), true),
            (answer(400, "notImplemented"), true),
            (page(404), true),
            (page(501), true),
            (page(502), false),
            (page(200), false),
            (answer(400, "invalid"), false),
            (answer(403, "accessDenied"), false),
            (answer(503, "backendError"), false),
            (error(Kind::Unreachable("x".into())), false),
            (error(Kind::Stopped(2, "x".into())), false),
        ] {
            assert_eq!(silent(&error).is_some(), is, "{error}");
        }
    }
}
