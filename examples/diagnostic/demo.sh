#!/bin/sh
# The customer's case on a local BigQuery: one good migration, which is accepted, and bad ones, which the same line rolls back by itself.
# Run by `make demo`. Ends with 0 only if every run ended as it should and every rolled-back table equals what it was.
set -u
here=$(dirname "$0")
here=$(cd "$here" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export STAGING_DATASET=repair_diagnostics PROD_DATASET=diagnosticpro_prod

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }
look() { "$BQ_LOCAL_PYTHON" "$here/look.py" "$@"; }

# The one line. What it says on stderr is shown; the stream goes to a file.
line() {
    bq-snap -q -f "$here/tables.csv" |
        bq-run "$here/$1" --param min_confidence:FLOAT64:0.6 --param batch_label:STRING:2025-week-40 |
        bq-check --sql "$here/checks" --copy verdict.jsonl >/dev/null ||
        bq-restore -q --format table
}

say 'The tables, made by SQL'
bq-run --unprotected -q "$here/setup.sql" >/dev/null || fail "the tables could not be made ($?)"
bq-count -q -f "$here/tables.csv" --format table || fail "the tables could not be counted ($?)"

say '$ bq-snap -f tables.csv | bq-run merge_templates.sql | bq-check || bq-restore'
look save before.json || fail 'the tables could not be read'
line merge_templates.sql
status=$?
echo "exit $status (0: accepted)"
[ "$status" -eq 0 ] || fail 'the good migration was not accepted'
grep -q '"accepted":true' verdict.jsonl || fail 'the verdict does not say accepted'
look compare before.json after.json && fail 'the good migration changed nothing'

for bad in bad_deletes_too_much.sql bad_stops_half_way.sql bad_drops_a_column.sql bad_garbles_values.sql; do
    say "\$ bq-snap -f tables.csv | bq-run $bad | bq-check --sql checks || bq-restore"
    line "$bad"
    status=$?
    echo "exit $status (10: rolled back)"
    [ "$status" -eq 10 ] || fail "$bad was not rolled back"
    look compare after.json || fail "$bad left a table changed"
done

say 'The runs, as their journals tell'
bq-restore --list -q --format table
say 'Every run ended as it should.'
