#!/bin/sh
# The least rights that the five programs need, as custom roles. docs/permissions.md says which right is for what.
#
#   DO=echo sh permissions.sh     prints what it would do
#   sh permissions.sh             does it; needs iam.roles.create, and to be owner of project and datasets
#   bq-snap --preflight -f tables.csv      afterwards, as the one who is to run the line: is it enough?
#
# A role that is there already is brought up to date. It takes nothing away from anybody.
set -eu

# Where jobs run (-p, PROJECT_ID).
PROJECT=${PROJECT:-my-project}
# The datasets of the protected tables, in that project.
DATASETS=${DATASETS:-shop crm}
# Where snapshots are kept (--snapshot-dataset); empty: beside the tables.
SNAPSHOTS=${SNAPSHOTS:-}
# Who snapshots, checks and rolls back: bq-snap, bq-check, bq-restore.
KEEPER=${KEEPER:-serviceAccount:keeper@my-project.iam.gserviceaccount.com}
# Who migrates: bq-run. The same one, if one does everything.
MIGRATOR=${MIGRATOR:-serviceAccount:migrator@my-project.iam.gserviceaccount.com}
# Who only counts: bq-count. Empty: nobody.
COUNTER=${COUNTER:-}
# `yes` if protected tables have row access policies.
ROW_POLICIES=${ROW_POLICIES:-no}
# Put before each command that changes something.
DO=${DO:-}

# role ID TITLE PERMISSIONS: makes a custom role of the project, or brings it up to date.
role() {
  verb=create
  if [ -z "$DO" ] && gcloud iam roles describe "$1" --project="$PROJECT" >/dev/null 2>&1; then
    verb=update
  fi
  $DO gcloud iam roles "$verb" "$1" --project="$PROJECT" --title="$2" --permissions="$3" --stage=GA
}

# on_project MEMBER ROLE
on_project() {
  $DO gcloud projects add-iam-policy-binding "$PROJECT" --member="$1" --role="$2" --condition=None
}

# on_dataset MEMBER ROLE DATASET: datasets have their own access lists, which gcloud does not write; SQL does.
on_dataset() {
  $DO bq query --project_id="$PROJECT" --use_legacy_sql=false \
    "GRANT \`$2\` ON SCHEMA \`$PROJECT\`.\`$3\` TO \"$1\""
}

# --- the keeper ---------------------------------------------------------------------------------------------------

READ=bigquery.datasets.get,bigquery.tables.get,bigquery.tables.list,bigquery.tables.getData

# On the tables. deleteSnapshot, because the copies that a rollback keeps expire, and what expires is deleted:
# dataEditor lacks it, and dataOwner, which has it, may also delete the dataset and give access to it away.
TABLES=$READ,bigquery.tables.createSnapshot,bigquery.tables.restoreSnapshot,bigquery.tables.create
TABLES=$TABLES,bigquery.tables.update,bigquery.tables.updateData,bigquery.tables.delete,bigquery.tables.deleteSnapshot
# For `--preflight` alone, which asks INFORMATION_SCHEMA.TABLES for fine-grained DML, and for row access policies.
TABLES=$TABLES,bigquery.routines.get,bigquery.routines.list,bigquery.rowAccessPolicies.list
role bqRollbackTables 'bq-rollback: tables' "$TABLES"

# On a dataset that only holds snapshots: to make, read back and restore them, to set their last expiry (update), and
# to let them expire (deleteSnapshot; `--expires never` does without).
KEPT=$READ,bigquery.tables.create,bigquery.tables.updateData,bigquery.tables.restoreSnapshot
KEPT=$KEPT,bigquery.tables.update,bigquery.tables.deleteSnapshot
role bqRollbackSnapshots 'bq-rollback: snapshots' "$KEPT"

# On the project: to look at the migrator's job and its child jobs, and to cancel it. Not needed where one does
# everything: one's own jobs need jobs.create only (in jobUser).
JOBS=bigquery.jobs.get,bigquery.jobs.list,bigquery.jobs.listAll,bigquery.jobs.update
role bqRollbackJobs 'bq-rollback: jobs of others' "$JOBS"

on_project "$KEEPER" roles/bigquery.jobUser
[ "$KEEPER" = "$MIGRATOR" ] || on_project "$KEEPER" "projects/$PROJECT/roles/bqRollbackJobs"
for dataset in $DATASETS; do
  on_dataset "$KEEPER" "projects/$PROJECT/roles/bqRollbackTables" "$dataset"
done
[ -z "$SNAPSHOTS" ] || on_dataset "$KEEPER" "projects/$PROJECT/roles/bqRollbackSnapshots" "$SNAPSHOTS"

# Tables with row access policies: a snapshot copies the policies, and reading the table as of the cut is time travel,
# which needs a right of its own (should IAM not take it into a custom role: roles/bigquery.studioAdmin holds it). A
# policy that lets the keeper see every row must be made on each such table besides:
#   CREATE ROW ACCESS POLICY bq_rollback ON shop.orders GRANT TO ("serviceAccount:keeper@...") FILTER USING (TRUE)
if [ "$ROW_POLICIES" = yes ]; then
  POLICIES=bigquery.rowAccessPolicies.list,bigquery.rowAccessPolicies.getIamPolicy
  POLICIES=$POLICIES,bigquery.rowAccessPolicies.create,bigquery.rowAccessPolicies.setIamPolicy
  POLICIES=$POLICIES,bigquery.rowAccessPolicies.overrideTimeTravelRestrictions
  role bqRollbackPolicies 'bq-rollback: row access policies' "$POLICIES"
  for dataset in $DATASETS $SNAPSHOTS; do
    on_dataset "$KEEPER" "projects/$PROJECT/roles/bqRollbackPolicies" "$dataset"
  done
fi

# --- the migrator -------------------------------------------------------------------------------------------------

# bq-run writes what the migration writes, and looks at the snapshots before it does. In a dataset of their own it
# cannot delete them. A migration that makes datasets, routines or grants needs more.
on_project "$MIGRATOR" roles/bigquery.jobUser
for dataset in $DATASETS; do
  on_dataset "$MIGRATOR" roles/bigquery.dataEditor "$dataset"
done
[ -z "$SNAPSHOTS" ] || on_dataset "$MIGRATOR" roles/bigquery.metadataViewer "$SNAPSHOTS"

# --- who only counts ----------------------------------------------------------------------------------------------

if [ -n "$COUNTER" ]; then
  on_project "$COUNTER" roles/bigquery.jobUser
  for dataset in $DATASETS; do
    on_dataset "$COUNTER" roles/bigquery.dataViewer "$dataset"
  done
fi
