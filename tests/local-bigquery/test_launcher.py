"""What the programs rest on, asked of a running server: the launcher's own tests.

    bq-local -- python -m unittest discover -s tests/local-bigquery

BIGQUERY_EMULATOR_HOST and PROJECT_ID name the server. Mostly through Google's own client, over plain HTTP where that
hides what is asked. Every test has a dataset of its own.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import decimal
import functools
import gzip
import io
import json
import os
import time
import unittest
import uuid

import fastavro
import pyarrow as pa
import pyarrow.parquet
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

HOST = os.environ["BIGQUERY_EMULATOR_HOST"].rstrip("/")
PROJECT = os.environ["PROJECT_ID"]
API = f"{HOST}/bigquery/v2/projects/{PROJECT}"
HTTP = requests.Session()
HTTP.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=40))
RICH = """
CREATE TABLE `{t}` (
  id INT64 NOT NULL OPTIONS(description='the key'),
  name STRING(20) DEFAULT 'nobody',
  price NUMERIC(10, 2),
  at TIMESTAMP NOT NULL,
  place STRUCT<city STRING NOT NULL OPTIONS(description='of birth'), zip STRING>,
  tags ARRAY<STRING>,
  PRIMARY KEY (id) NOT ENFORCED
) PARTITION BY DATE(at) CLUSTER BY name OPTIONS(
  description='rich', friendly_name='Rich', labels=[('team', 'a'), ('kind', 'b')],
  partition_expiration_days=3650, require_partition_filter=FALSE, expiration_timestamp=TIMESTAMP '2100-01-01 00:00:00+00:00'
)"""
ROW = "(1, 'x', 1.5, TIMESTAMP '2026-01-01 00:00:00+00:00', STRUCT('here', '1'), ['a'])"


def millis() -> int:
    [row] = client().query_and_wait("SELECT UNIX_MILLIS(CURRENT_TIMESTAMP()) AS now")
    return row.now


def stamp(ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}+00:00'"


@functools.cache
def client() -> bigquery.Client:
    made = bigquery.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": HOST}, _http=HTTP)
    return made


def run(sql: str, **config) -> bigquery.QueryJob:
    job = client().query(sql, job_config=bigquery.QueryJobConfig(**config), retry=None, job_retry=None)
    job.result()
    return job


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dataset = f"d_{uuid.uuid4().hex[:12]}"
        client().create_dataset(self.dataset)

    def tearDown(self):
        client().delete_dataset(self.dataset, delete_contents=True, not_found_ok=True)

    def t(self, name: str) -> str:
        return f"{PROJECT}.{self.dataset}.{name}"

    def run_(self, sql: str, **config) -> bigquery.QueryJob:
        return run(sql.replace("{d}", f"{PROJECT}.{self.dataset}"), **config)

    def get(self, name: str) -> dict:
        answer = HTTP.get(f"{API}/datasets/{self.dataset}/tables/{name}")
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()

    def patch(self, name: str, body: dict) -> dict:
        answer = HTTP.patch(f"{API}/datasets/{self.dataset}/tables/{name}", json=body)
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()

    def rows(self, sql: str) -> list[tuple]:
        return [tuple(row.values()) for row in self.run_(sql).result()]

    def count(self, name: str) -> int:
        return self.rows(f"SELECT COUNT(*) FROM `{{d}}.{name}`")[0][0]

    def refused(self, sql: str, text: str, reason: str = "invalidQuery", code: int = 400, **config):
        """The job ends with this reason and text, and getQueryResults with this status."""
        with self.assertRaises(exceptions.GoogleAPICallError) as caught:
            self.run_(sql, **config)
        self.assertEqual(caught.exception.code, code, caught.exception)
        self.assertEqual(caught.exception.errors[0]["reason"], reason)
        self.assertIn(text, caught.exception.message)

    def rich(self, name: str = "t"):
        self.run_(RICH.format(t=self.t(name)))
        self.run_(f"INSERT INTO `{{d}}.{name}` (id, name, price, at, place, tags) VALUES {ROW}")

    def plain(self, name: str = "t", rows: str = "[1, 2, 3]"):
        self.run_(f"CREATE TABLE `{{d}}.{name}` (a INT64)")
        self.run_(f"INSERT INTO `{{d}}.{name}` SELECT * FROM UNNEST({rows})")


class Snapshots(Case):
    def test_a_snapshot_holds_the_rows_and_the_description_of_its_instant(self):
        self.rich()
        cut = millis()
        self.run_("INSERT INTO `{d}.t` (id, at) VALUES (2, CURRENT_TIMESTAMP())")
        self.run_(
            f"CREATE SNAPSHOT TABLE `{{d}}.s` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)} OPTIONS("
            "expiration_timestamp=TIMESTAMP '2100-02-03 04:05:06.789+00:00', labels=[('a','b')], description='why')"
        )
        snapshot, base = self.get("s"), self.get("t")
        self.assertEqual((snapshot["type"], snapshot["numRows"], base["numRows"]), ("SNAPSHOT", "1", "2"))
        defined = snapshot["snapshotDefinition"]
        self.assertEqual(
            defined["baseTableReference"], {"projectId": PROJECT, "datasetId": self.dataset, "tableId": "t"}
        )
        moment = datetime.datetime.fromtimestamp(cut / 1000, datetime.UTC)
        self.assertEqual(defined["snapshotTime"], f"{moment:%Y-%m-%dT%H:%M:%S}.{cut % 1000:03d}Z")
        self.assertEqual(snapshot["expirationTime"], "4105310706789")
        self.assertEqual((snapshot["labels"], snapshot["description"]), ({"a": "b"}, "why"))

    def test_a_snapshot_keeps_schema_keys_and_layout_but_no_partition_expiration(self):
        self.rich()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        snapshot, base = self.get("s"), self.get("t")
        self.assertEqual(snapshot["schema"], base["schema"])
        fields = {field["name"]: field for field in base["schema"]["fields"]}
        self.assertEqual((fields["id"]["mode"], fields["id"]["description"]), ("REQUIRED", "the key"))
        self.assertEqual((fields["name"]["defaultValueExpression"], fields["name"]["maxLength"]), ("'nobody'", "20"))
        self.assertEqual((fields["price"]["precision"], fields["price"]["scale"]), ("10", "2"))
        city = fields["place"]["fields"][0]
        self.assertEqual((city["mode"], city["description"]), ("REQUIRED", "of birth"))
        self.assertEqual(snapshot["tableConstraints"], {"primaryKey": {"columns": ["id"]}})
        self.assertEqual(base["timePartitioning"], {"type": "DAY", "field": "at", "expirationMs": "315360000000"})
        self.assertEqual(snapshot["timePartitioning"], {"type": "DAY", "field": "at"})
        self.assertEqual(snapshot["clustering"], {"fields": ["name"]})
        self.assertNotIn("expirationTime", snapshot)
        self.assertNotIn("friendlyName", snapshot)

    def test_range_partitioning_travels(self):
        self.run_(
            "CREATE TABLE `{d}.t` (a INT64) PARTITION BY RANGE_BUCKET(a, GENERATE_ARRAY(0, 100, 10)) CLUSTER BY a"
        )
        wanted = {"field": "a", "range": {"start": "0", "end": "100", "interval": "10"}}
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        for name in ("t", "s"):
            self.assertEqual(self.get(name)["rangePartitioning"], wanted)
            self.assertEqual(self.get(name)["clustering"], {"fields": ["a"]})

    def test_a_taken_name_is_refused_and_if_not_exists_is_silent(self):
        self.plain()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        self.refused("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`", "Already Exists: Table", "duplicate", 409)
        skipped = self.run_("CREATE SNAPSHOT TABLE IF NOT EXISTS `{d}.s` CLONE `{d}.t`")
        self.assertEqual(skipped.ddl_operation_performed, "SKIP")

    def test_instants_outside_the_life_of_the_table_are_refused(self):
        before = millis()
        self.plain()
        for ms in (before - 1, millis() + 3_600_000):
            for verb in ("SNAPSHOT TABLE", "TABLE"):
                self.refused(
                    f"CREATE {verb} `{{d}}.s` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(ms)}",
                    "Invalid snapshot time",
                )
            self.refused(f"SELECT * FROM `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(ms)}", "Invalid snapshot time")

    def test_history_ends_at_a_drop_but_not_at_a_replacement(self):
        self.plain()
        cut = millis()
        self.run_("CREATE OR REPLACE TABLE `{d}.t` AS SELECT 'x' AS b")
        self.assertEqual(self.rows(f"SELECT SUM(a) FROM `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)}"), [(6,)])
        self.run_(f"CREATE SNAPSHOT TABLE `{{d}}.s` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)}")
        self.assertEqual([f["name"] for f in self.get("s")["schema"]["fields"]], ["a"])
        self.run_("DROP TABLE `{d}.t`")
        self.run_("CREATE TABLE `{d}.t` (c INT64)")
        self.refused(f"SELECT * FROM `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)}", "Invalid snapshot time")

    def test_the_description_is_that_of_the_instant(self):
        self.rich()
        cut = millis()
        self.run_("ALTER TABLE `{d}.t` SET OPTIONS(description='later')")
        self.run_("ALTER TABLE `{d}.t` ALTER COLUMN id SET OPTIONS(description='later')")
        self.run_(f"CREATE SNAPSHOT TABLE `{{d}}.s` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)}")
        self.assertEqual(self.get("s")["description"], "rich")
        self.assertEqual(self.get("s")["schema"]["fields"][0]["description"], "the key")

    def test_a_snapshot_is_read_only(self):
        self.plain()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        for sql in (
            "INSERT INTO `{d}.s` VALUES (1)",
            "UPDATE `{d}.s` SET a = 1 WHERE TRUE",
            "DELETE FROM `{d}.s` WHERE TRUE",
            "TRUNCATE TABLE `{d}.s`",
            "MERGE `{d}.s` s USING `{d}.t` t ON s.a = t.a WHEN MATCHED THEN DELETE",
        ):
            self.refused(sql, "snapshot", "invalid")
        for sql in ("DROP TABLE `{d}.s`", "CREATE OR REPLACE TABLE `{d}.s` AS SELECT 1 AS a"):
            self.refused(sql, "currently a SNAPSHOT", "invalid")
        self.refused("DROP SNAPSHOT TABLE `{d}.t`", "currently a TABLE", "invalid")
        self.assertEqual(self.count("s"), 3)
        self.run_("DROP SNAPSHOT TABLE `{d}.s`")
        with self.assertRaises(exceptions.NotFound):
            client().get_table(self.t("s"))

    def test_views_have_no_snapshot(self):
        self.plain()
        self.run_("CREATE VIEW `{d}.v` AS SELECT * FROM `{d}.t`")
        self.assertEqual(self.get("v")["type"], "VIEW")
        self.refused("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.v`", "currently a VIEW", "invalid")
        self.refused("CREATE TABLE `{d}.s` CLONE `{d}.v`", "currently a VIEW", "invalid")

    def test_options_are_constants_parameters_and_functions(self):
        self.plain()
        self.run_(
            "CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t` FOR SYSTEM_TIME AS OF TIMESTAMP_MILLIS(@cut) OPTIONS("
            "expiration_timestamp=TIMESTAMP_ADD(@at, INTERVAL 1 HOUR), description=@why, friendly_name=NULL)",
            query_parameters=[
                bigquery.ScalarQueryParameter("cut", "INT64", millis()),
                bigquery.ScalarQueryParameter("at", "TIMESTAMP", datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)),
                bigquery.ScalarQueryParameter("why", "STRING", "because"),
            ],
        )
        self.assertEqual(self.get("s")["expirationTime"], "4102448400000")
        self.assertEqual(self.get("s")["description"], "because")

    def test_a_time_without_zone_is_los_angeles_time(self):
        self.plain()
        utc = datetime.datetime.fromtimestamp(millis() / 1000, datetime.UTC)
        self.refused(
            f"CREATE SNAPSHOT TABLE `{{d}}.s` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF TIMESTAMP '{utc:%Y-%m-%d %H:%M:%S}'",
            "Invalid snapshot time",
        )

    def test_forty_snapshots_at_once(self):
        script = "".join(f"CREATE TABLE `{{d}}.t{i}` AS SELECT {i} AS a;\n" for i in range(10))
        self.run_(script)
        cut = stamp(millis())
        made = [f"t{n % 10}_{n // 10}" for n in range(40)]
        sql = "CREATE SNAPSHOT TABLE `{{d}}.{name}` CLONE `{{d}}.{of}` FOR SYSTEM_TIME AS OF {cut}"
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            list(pool.map(self.run_, (sql.format(name=name, of=name.split("_")[0], cut=cut) for name in made)))
        named = [(name, "") for name in made] + [(f"t{i}", f" FOR SYSTEM_TIME AS OF {cut}") for i in range(10)]
        counts = " UNION ALL ".join(
            f"SELECT '{name}' AS t, COUNT(*) AS n, MIN(a) AS a FROM `{{d}}.{name}`{as_of}" for name, as_of in named
        )
        expected = sorted((name, 1, int(name[1])) for name, _ in named)
        self.assertEqual(sorted(self.rows(counts)), expected)


class Clones(Case):
    def protected(self):
        self.rich()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t` OPTIONS(labels=[('own', 'yes')], description='mine')")

    def test_a_restore_carries_rows_schema_and_layout_and_loses_options(self):
        self.protected()
        before = self.get("t")
        self.run_("DELETE FROM `{d}.t` WHERE TRUE")
        job = self.run_("CREATE OR REPLACE TABLE `{d}.t` CLONE `{d}.s`")
        self.assertEqual(job.ddl_operation_performed, "REPLACE")
        after = self.get("t")
        self.assertEqual((after["type"], after["numRows"]), ("TABLE", "1"))
        self.assertEqual(after["cloneDefinition"]["baseTableReference"]["tableId"], "s")
        self.assertRegex(after["cloneDefinition"]["cloneTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        for kept in ("schema", "clustering", "tableConstraints"):
            self.assertEqual(after[kept], before[kept])
        self.assertEqual(after["timePartitioning"], {"type": "DAY", "field": "at"})
        self.assertEqual((after["labels"], after["description"]), ({"own": "yes"}, "mine"))
        for lost in ("friendlyName", "requirePartitionFilter", "expirationTime"):
            self.assertNotIn(lost, after)

    def test_options_override(self):
        self.protected()
        self.run_(
            "CREATE OR REPLACE TABLE `{d}.t` CLONE `{d}.s` OPTIONS(description='put back', labels=[], "
            "friendly_name='Rich', partition_expiration_days=3, require_partition_filter=TRUE, "
            "expiration_timestamp=TIMESTAMP '2100-01-01 00:00:00+00:00')"
        )
        after = self.get("t")
        self.assertNotIn("labels", after)
        self.assertEqual((after["description"], after["friendlyName"]), ("put back", "Rich"))
        self.assertEqual(after["timePartitioning"]["expirationMs"], "259200000")
        self.assertEqual((after["requirePartitionFilter"], after["expirationTime"]), (True, "4102444800000"))

    def test_a_clone_under_a_new_name_and_the_required_columns_stay_required(self):
        self.protected()
        self.run_("CREATE TABLE `{d}.c` CLONE `{d}.s` FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()")
        self.refused("INSERT INTO `{d}.c` (name) VALUES ('x')", "")
        self.run_("INSERT INTO `{d}.c` (id, at) VALUES (9, CURRENT_TIMESTAMP())")
        self.assertEqual(self.rows("SELECT name FROM `{d}.c` WHERE id = 9"), [("nobody",)])

    def test_a_different_layout_is_not_replaced(self):
        self.rich()
        self.run_("CREATE TABLE `{d}.p` AS SELECT id, name, price, at, place, tags FROM `{d}.t`")
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.p`")
        message = (
            "Cannot replace a table with a different partitioning spec. Instead, DROP the table, and then recreate it. "
            "New partitioning spec is none and existing spec is interval(type:day,field:at) clustering(name)"
        )
        for sql in (
            "CREATE OR REPLACE TABLE `{d}.t` CLONE `{d}.s`",
            "CREATE OR REPLACE TABLE `{d}.t` AS SELECT 1 AS a",
            "CREATE OR REPLACE TABLE `{d}.t` (a INT64)",
            "CREATE OR REPLACE TABLE `{d}.t` COPY `{d}.s`",
        ):
            self.refused(sql, message)
        self.refused("CREATE OR REPLACE TABLE `{d}.p` CLUSTER BY a AS SELECT 1 AS a", "different partitioning spec")

    def test_no_clone_of_itself(self):
        self.plain()
        self.refused(
            f"CREATE OR REPLACE TABLE `{{d}}.t` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(millis())}",
            "Cannot clone data from and to the same table",
            "invalid",
        )

    def test_a_full_copy_is_a_plain_table_with_all_options(self):
        self.rich()
        self.run_("CREATE TABLE `{d}.c` COPY `{d}.t`")
        copy, base = self.get("c"), self.get("t")
        self.assertNotIn("cloneDefinition", copy)
        own = ("id", "selfLink", "tableReference", "creationTime", "lastModifiedTime", "etag")
        self.assertEqual(*({k: v for k, v in table.items() if k not in own} for table in (copy, base)))

    def test_chains_are_three_deep(self):
        self.plain("t0")
        self.run_("CREATE SNAPSHOT TABLE `{d}.t1` CLONE `{d}.t0`")
        self.run_("CREATE OR REPLACE TABLE `{d}.t0` CLONE `{d}.t1`")
        self.run_("CREATE SNAPSHOT TABLE `{d}.t3` CLONE `{d}.t0`")
        for sql in ("CREATE TABLE `{d}.x` CLONE `{d}.t3`", "CREATE SNAPSHOT TABLE `{d}.x` CLONE `{d}.t3`"):
            self.refused(sql, "3 deep", "invalid")
        self.run_("CREATE OR REPLACE TABLE `{d}.t0` COPY `{d}.t3`")
        self.assertNotIn("cloneDefinition", self.get("t0"))
        self.run_("CREATE SNAPSHOT TABLE `{d}.x` CLONE `{d}.t0`")

    def test_dataset_defaults_reach_restored_tables(self):
        self.protected()
        dataset = client().get_dataset(self.dataset)
        dataset.default_table_expiration_ms = 3_600_000
        dataset.default_partition_expiration_ms = 7_200_000
        client().update_dataset(dataset, ["default_table_expiration_ms", "default_partition_expiration_ms"])
        self.run_("CREATE OR REPLACE TABLE `{d}.t` CLONE `{d}.s`")
        self.assertEqual(self.get("t")["timePartitioning"]["expirationMs"], "7200000")
        self.plain("p")
        self.run_("CREATE TABLE `{d}.q` CLONE `{d}.p`")
        for name in ("p", "q"):
            table = self.get(name)
            self.assertAlmostEqual(int(table["expirationTime"]) - int(table["creationTime"]), 3_600_000, delta=1000)


class Tables(Case):
    def state(self, name: str = "t") -> tuple[int, str]:
        table = self.get(name)
        return int(table["lastModifiedTime"]), table["etag"]

    def test_every_write_moves_time_and_etag_and_counts_exactly(self):
        self.plain("src")
        self.run_("CREATE TABLE `{d}.t` (a INT64) OPTIONS(labels=[('x', 'y')])")
        writes = [
            ("INSERT INTO `{d}.t` SELECT a FROM `{d}.src`", 3),
            ("UPDATE `{d}.t` SET a = 10 WHERE a = 1", 3),
            ("DELETE FROM `{d}.t` WHERE a = 10", 2),
            ("MERGE `{d}.t` t USING `{d}.src` s ON t.a = s.a WHEN MATCHED THEN UPDATE SET a = s.a + 100 "
             "WHEN NOT MATCHED THEN INSERT (a) VALUES (a)", 3),
            ("ALTER TABLE `{d}.t` ADD COLUMN b STRING", 3),
            ("ALTER TABLE `{d}.t` SET OPTIONS(description='d')", 3),
            ("ALTER TABLE `{d}.t` ALTER COLUMN a SET OPTIONS(description='d')", 3),
            ("BEGIN TRANSACTION; DELETE FROM `{d}.t` WHERE a > 101; COMMIT TRANSACTION", 1),
            ("TRUNCATE TABLE `{d}.t`", 0),
            ("CREATE OR REPLACE TABLE `{d}.t` AS SELECT 1 AS a UNION ALL SELECT 2", 2),
            # Rows of one file, again and again.
            ("CREATE OR REPLACE TABLE `{d}.t` AS SELECT a FROM UNNEST(GENERATE_ARRAY(1, 1000)) AS a", 1000),
            ("UPDATE `{d}.t` SET a = 0 WHERE a = 1", 1000),
            ("DELETE FROM `{d}.t` WHERE a = 7", 999),
            ("DELETE FROM `{d}.t` WHERE a > 5", 5),
            ("DELETE FROM `{d}.t` WHERE a > 4", 4),
        ]
        for sql, rows in writes:
            with self.subTest(sql):
                before = self.state()
                self.assertEqual(self.state(), before)
                self.run_(sql)
                after = self.state()
                self.assertGreater(after[0], before[0])
                self.assertNotEqual(after[1], before[1])
                self.assertEqual(self.get("t")["numRows"], str(rows))

    def test_loads_copies_and_patches_move_it_too(self):
        self.plain("src")
        self.plain("t")
        load = bigquery.LoadJobConfig(write_disposition="WRITE_APPEND")
        copy = bigquery.CopyJobConfig(write_disposition="WRITE_TRUNCATE")
        into = bigquery.QueryJobConfig(write_disposition="WRITE_APPEND", destination=self.t("t"))
        writes = [
            (lambda: client().load_table_from_json([{"a": 4}], self.t("t"), job_config=load).result(), 4),
            (lambda: client().query("SELECT 5 AS a", job_config=into).result(), 5),
            (lambda: client().copy_table(self.t("src"), self.t("t"), job_config=copy).result(), 3),
            (lambda: self.patch("t", {"description": "patched"}), 3),
            (lambda: client().insert_rows_json(self.t("t"), [{"a": 1}]), 4),
        ]
        for write, rows in writes:
            before = self.state()
            write()
            after = self.state()
            self.assertGreater(after[0], before[0])
            self.assertNotEqual(after[1], before[1])
            self.assertEqual(self.get("t")["numRows"], str(rows))

    def test_reading_and_being_a_source_move_nothing(self):
        self.plain()
        before = self.state()
        self.count("t")
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        self.run_("CREATE TABLE `{d}.c` CLONE `{d}.t`")
        self.run_("CREATE TABLE `{d}.f` COPY `{d}.t`")
        self.run_("INSERT INTO `{d}.c` SELECT * FROM `{d}.t`")
        self.run_("UPDATE `{d}.t` SET a = 1 WHERE FALSE")
        self.assertEqual(self.state(), before)

    def test_patch_sets_and_clears(self):
        self.rich()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t` OPTIONS(labels=[('a', 'b'), ('c', 'd')])")
        for name in ("t", "s"):
            self.patch(name, {"labels": {"one": "1", "two": "2"}, "expirationTime": "4102444800000"})
            patched = self.patch(name, {"labels": {"two": None, "three": ""}, "description": "new", "friendlyName": "F"})
            self.assertEqual(patched["labels"].get("one"), "1")
            self.assertEqual(patched["labels"].get("three"), "")
            self.assertNotIn("two", patched["labels"])
            self.assertEqual((patched["description"], patched["friendlyName"]), ("new", "F"))
            self.assertEqual(patched["expirationTime"], "4102444800000")
            patched = self.patch(name, {"expirationTime": None, "description": None, "friendlyName": None})
            for cleared in ("expirationTime", "description", "friendlyName"):
                self.assertNotIn(cleared, patched)
            self.assertEqual(self.get(name), patched)

    def test_patch_of_partition_options_and_column_descriptions(self):
        self.rich()
        partitioning = {"type": "DAY", "field": "at", "expirationMs": "86400000"}
        self.assertEqual(self.patch("t", {"timePartitioning": partitioning})["timePartitioning"], partitioning)
        cleared = self.patch("t", {"timePartitioning": partitioning | {"expirationMs": None}})
        self.assertNotIn("expirationMs", cleared["timePartitioning"])
        schema = self.get("t")["schema"]
        schema["fields"][0]["description"] = "changed"
        after = self.patch("t", {"schema": schema, "requirePartitionFilter": True})
        self.assertEqual(after["schema"], schema)
        self.assertTrue(after["requirePartitionFilter"])
        self.refused("SELECT COUNT(*) FROM `{d}.t`", "without a filter")
        self.assertEqual(self.rows("SELECT COUNT(*) FROM `{d}.t` WHERE at IS NOT NULL OR at IS NULL"), [(1,)])

    def test_patch_under_a_stale_etag_is_refused(self):
        self.plain()
        stale = self.get("t")["etag"]
        self.run_("INSERT INTO `{d}.t` VALUES (4)")
        answer = HTTP.patch(
            f"{API}/datasets/{self.dataset}/tables/t", json={"description": "x"}, headers={"If-Match": stale}
        )
        self.assertEqual(answer.status_code, 412)

    def test_alter_leaves_its_traces(self):
        self.rich()
        for sql in (
            "ALTER TABLE `{d}.t` ADD COLUMN w INT64 OPTIONS(description='w')",
            "ALTER TABLE `{d}.t` RENAME COLUMN w TO w2",
            "ALTER TABLE `{d}.t` ALTER COLUMN w2 SET DEFAULT 7",
            "ALTER TABLE `{d}.t` SET OPTIONS(expiration_timestamp=NULL, labels=[('only', 'this')], "
            "partition_expiration_days=NULL)",
            "ALTER TABLE `{d}.t` ALTER COLUMN at DROP NOT NULL",
        ):
            self.run_(sql)
        table = self.get("t")
        last = table["schema"]["fields"][-1]
        self.assertEqual((last["name"], last["description"], last["defaultValueExpression"]), ("w2", "w", "7"))
        self.assertEqual(table["labels"], {"only": "this"})
        self.assertNotIn("expirationTime", table)
        self.assertNotIn("expirationMs", table["timePartitioning"])
        self.assertEqual(table["schema"]["fields"][3]["mode"], "NULLABLE")

    def test_no_answer_carries_a_null(self):
        self.plain()
        for path in ("", f"/{self.dataset}", f"/{self.dataset}/tables", f"/{self.dataset}/tables/t"):
            self.assertNotIn("null", HTTP.get(f"{API}/datasets{path}").text)
        self.assertNotIn("null", HTTP.get(f"{API}/jobs?maxResults=3&projection=full").text)

    def test_lists_give_the_short_form(self):
        self.rich()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t` OPTIONS("
                  "expiration_timestamp=TIMESTAMP '2100-01-01 00:00:00+00:00', labels=[('a','b')])")
        self.run_("CREATE VIEW `{d}.v` AS SELECT 1 AS a")
        answer = HTTP.get(f"{API}/datasets/{self.dataset}/tables").json()
        listed = {table["tableReference"]["tableId"]: table for table in answer["tables"]}
        self.assertEqual({k: v["type"] for k, v in listed.items()}, {"t": "TABLE", "s": "SNAPSHOT", "v": "VIEW"})
        self.assertEqual((listed["s"]["labels"], listed["s"]["expirationTime"]), ({"a": "b"}, "4102444800000"))
        self.assertNotIn("schema", listed["t"])
        self.assertNotIn("snapshotDefinition", listed["s"])

    def test_the_expired_are_gone(self):
        self.plain()
        past = "OPTIONS(expiration_timestamp=TIMESTAMP '2020-01-01 00:00:00+00:00')"
        self.run_(f"CREATE SNAPSHOT TABLE `{{d}}.s` CLONE `{{d}}.t` {past}")
        HTTP.patch(f"{API}/datasets/{self.dataset}/tables/t", json={"expirationTime": "1577836800000"})
        for name in ("s", "t"):
            answer = HTTP.get(f"{API}/datasets/{self.dataset}/tables/{name}")
            self.assertEqual(answer.status_code, 404)
            self.assertEqual(answer.json()["error"]["errors"][0]["reason"], "notFound")
        self.refused("SELECT * FROM `{d}.t`", "Not found", "notFound", 404)

    def test_datasets(self):
        name = f"{self.dataset}_x"
        self.run_(
            f"CREATE SCHEMA `{PROJECT}.{name}` OPTIONS(location='EU', default_table_expiration_days=1, "
            "default_partition_expiration_days=2)"
        )
        try:
            dataset = HTTP.get(f"{API}/datasets/{name}").json()
            self.assertEqual(dataset["location"], "EU")
            self.assertEqual(dataset["defaultTableExpirationMs"], "86400000")
            self.assertEqual(dataset["defaultPartitionExpirationMs"], "172800000")
            self.run_(f"CREATE TABLE `{PROJECT}.{name}.p` (d DATE) PARTITION BY d")
            table = HTTP.get(f"{API}/datasets/{name}/tables/p").json()
            self.assertEqual((table["location"], table["timePartitioning"]["expirationMs"]), ("EU", "172800000"))
            self.assertNotIn("expirationTime", table)
        finally:
            client().delete_dataset(name, delete_contents=True)

    def test_information_schema_says_clone(self):
        self.plain()
        self.run_("CREATE TABLE `{d}.c` CLONE `{d}.t`")
        found = dict(self.rows("SELECT table_name, table_type FROM `{d}`.INFORMATION_SCHEMA.TABLES"))
        self.assertEqual(found, {"t": "BASE TABLE", "c": "CLONE"})


class CopyJobs(Case):
    def copy(self, source: str, target: str, **config) -> dict:
        reference = {"projectId": PROJECT, "datasetId": self.dataset}
        body = {
            "sourceTable": reference | {"tableId": source}, "destinationTable": reference | {"tableId": target},
        } | config
        answer = HTTP.post(f"{API}/jobs", json={"configuration": {"copy": body}}).json()
        job = client().get_job(answer["jobReference"]["jobId"])
        try:
            job.result()
        except exceptions.GoogleAPICallError:
            pass
        return client().get_job(job.job_id)._properties

    def test_snapshot_and_restore(self):
        self.rich()
        cut = millis()
        self.run_("DELETE FROM `{d}.t` WHERE TRUE")
        job = self.copy(f"t@{cut}", "s", operationType="SNAPSHOT", destinationExpirationTime="2100-01-01T00:00:00Z")
        self.assertNotIn("errorResult", job["status"])
        self.assertEqual(job["statistics"]["copy"]["copiedRows"], "1")
        self.assertEqual((self.get("s")["type"], self.get("s")["expirationTime"]), ("SNAPSHOT", "4102444800000"))
        job = self.copy("s", "t", operationType="RESTORE", writeDisposition="WRITE_TRUNCATE")
        self.assertNotIn("errorResult", job["status"])
        self.assertEqual(self.get("t")["numRows"], "1")

    def test_refusals(self):
        self.plain()
        self.plain("u")
        job = self.copy("t", "u", operationType="CLONE", writeDisposition="WRITE_TRUNCATE")
        self.assertIn("WRITE_TRUNCATE is not supported", job["status"]["errorResult"]["message"])
        self.assertEqual(self.copy("t", "u")["status"]["errorResult"]["reason"], "duplicate")

    def test_a_dropped_table_comes_back_without_partitioning(self):
        self.rich()
        cut = millis()
        self.run_("DROP TABLE `{d}.t`")
        self.run_("CREATE TABLE `{d}.t` AS SELECT 1 AS other")
        job = self.copy(f"t@{cut}", "back")
        self.assertNotIn("errorResult", job["status"])
        back = self.get("back")
        self.assertEqual(back["numRows"], "1")
        self.assertNotIn("timePartitioning", back)
        self.assertEqual(back["schema"]["fields"][0]["mode"], "REQUIRED")


    def copied(self, source: str, target: str, **config) -> dict:
        job = self.copy(source, target, **config)
        self.assertNotIn("errorResult", job["status"], job["status"])
        return job

    def not_copied(self, reason: str, text: str, source: str, target: str, **config):
        job = self.copy(source, target, **config)
        self.assertEqual(job["status"].get("errorResult", {}).get("reason"), reason, job["status"])
        self.assertIn(text, job["status"]["errorResult"]["message"])

    def test_what_is_copied_back_of_an_instant_keeps_its_schema_and_nothing_else(self):
        self.rich()
        before, cut = self.get("t"), millis()
        self.run_("DROP TABLE `{d}.t`")
        time.sleep(0.01)
        self.run_("CREATE TABLE `{d}.t` AS SELECT 1 AS other")
        for name, operation in (("c", "COPY"), ("l", "CLONE"), ("s", "SNAPSHOT")):
            self.copied(f"t@{cut}", name, operationType=operation)
            back = self.get(name)
            self.assertEqual((back["numRows"], back["schema"]), ("1", before["schema"]))
            lost = ("timePartitioning", "clustering", "labels", "description", "friendlyName", "expirationTime")
            self.assertEqual([key for key in (*lost, "tableConstraints") if key in back], [], name)
        self.assertEqual(self.get("s")["type"], "SNAPSHOT")
        self.assertEqual(self.get("l")["cloneDefinition"]["baseTableReference"]["tableId"], "t")
        self.refused(
            f"CREATE TABLE `{{d}}.x` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)}", "Invalid snapshot time"
        )

    def test_a_dropped_table_is_not_found_but_by_decorator(self):
        self.plain()
        cut = millis()
        self.run_("DROP TABLE `{d}.t`")
        at = stamp(cut)
        for sql in ("SELECT * FROM `{d}.t`", "CREATE TABLE `{d}.x` CLONE `{d}.t`"):
            self.refused(f"{sql} FOR SYSTEM_TIME AS OF {at}", "Not found: Table", "notFound", 404)
        self.not_copied("notFound", "Not found: Table", "t", "x")
        self.not_copied("notFound", "Not found: Table", f"nothing@{cut}", "x")
        back = self.copied(f"t@{cut}", "x", destinationExpirationTime="2100-01-01T00:00:00Z")
        self.assertEqual((self.count("x"), self.get("x")["expirationTime"]), (3, "4102444800000"))
        copied = back["statistics"]["copy"]
        self.assertEqual((copied["copiedRows"], copied["copiedLogicalBytes"]), ("3", self.get("x")["numBytes"]))

    def test_decorators_count_from_now_too(self):
        self.plain()
        time.sleep(1.5)
        self.run_("DELETE FROM `{d}.t` WHERE a = 1")
        self.copied("t@-1000", "x")
        self.copied("t", "y")
        self.copied("t@0", "z")
        self.assertEqual((self.count("x"), self.count("y"), self.count("z")), (3, 2, 0))

    def test_a_dropped_snapshot_comes_back(self):
        self.rich()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t` OPTIONS(labels=[('own', 'yes')])")
        cut = millis()
        self.run_("DROP SNAPSHOT TABLE `{d}.s`")
        kinds = {"COPY": "TABLE", "CLONE": "TABLE", "RESTORE": "TABLE", "SNAPSHOT": "SNAPSHOT"}
        for operation, kind in kinds.items():
            name = operation.lower()
            self.copied(f"s@{cut}", name, operationType=operation)
            back = self.get(name)
            self.assertEqual((back["type"], back["numRows"]), (kind, "1"))
            self.assertNotIn("timePartitioning", back)
            self.assertNotIn("labels", back)
        self.assertNotIn("cloneDefinition", self.get("copy"))
        self.assertIn("cloneDefinition", self.get("restore"))
        self.assertIn("snapshotDefinition", self.get("snapshot"))
        self.copied(f"s@{cut}", "s", operationType="SNAPSHOT")
        self.assertEqual(self.get("s")["type"], "SNAPSHOT")

    def test_the_expired_come_back_too(self):
        self.plain()
        soon = "OPTIONS(expiration_timestamp=TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 3 SECOND))"
        self.run_(f"CREATE SNAPSHOT TABLE `{{d}}.s` CLONE `{{d}}.t` {soon}")
        cut = millis()
        HTTP.patch(f"{API}/datasets/{self.dataset}/tables/t", json={"expirationTime": str(cut + 3000)})
        time.sleep(3.2)
        url = f"{API}/datasets/{self.dataset}/tables"
        self.assertEqual(HTTP.get(url).json().get("tables"), None)
        for name in ("s", "t"):
            self.assertEqual(HTTP.get(f"{url}/{name}").status_code, 404)
            self.refused(f"SELECT * FROM `{{d}}.{name}`", "Not found", "notFound", 404)
            self.copied(f"{name}@{cut}", f"{name}_back")
            self.assertEqual(self.count(f"{name}_back"), 3)

    def test_dispositions_of_copies(self):
        self.rich()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        self.run_("CREATE TABLE `{d}.empty` COPY `{d}.t`; TRUNCATE TABLE `{d}.empty`")
        self.run_("CREATE TABLE `{d}.other` (a INT64); CREATE VIEW `{d}.v` AS SELECT 1 AS a")
        self.copied("s", "empty", operationType="RESTORE")
        self.assertEqual(self.get("empty")["numRows"], "1")
        self.not_copied("duplicate", "Already Exists", "s", "empty", operationType="RESTORE")
        self.not_copied("duplicate", "Already Exists", "t", "other", operationType="CLONE")
        self.not_copied("duplicate", "Already Exists", "t", "s", operationType="SNAPSHOT")
        self.not_copied("invalid", "not a snapshot", "t", "x", operationType="RESTORE")
        self.not_copied("invalid", "partitioning", "t", "other", writeDisposition="WRITE_TRUNCATE")
        self.not_copied("invalid", "currently a VIEW", "t", "v", writeDisposition="WRITE_TRUNCATE")
        self.not_copied("invalid", "currently a VIEW", "v", "x")
        self.not_copied("notFound", "Not found", "t", "x", createDisposition="CREATE_NEVER")
        self.run_("DELETE FROM `{d}.t` WHERE TRUE")
        self.copied("s", "t", operationType="RESTORE", writeDisposition="WRITE_TRUNCATE")
        self.assertEqual(self.count("t"), 1)

    def test_a_copy_job_has_its_id_and_labels(self):
        self.plain()
        reference = {"projectId": PROJECT, "datasetId": self.dataset}
        job_id = f"j_{uuid.uuid4().hex}"
        body = {
            "jobReference": {"projectId": PROJECT, "jobId": job_id},
            "configuration": {
                "labels": {"run": "r1"},
                "copy": {
                    "sourceTable": reference | {"tableId": "t"}, "destinationTable": reference | {"tableId": "x"},
                },
            },
        }
        self.assertEqual(HTTP.post(f"{API}/jobs", json=body).status_code, 200)
        again = HTTP.post(f"{API}/jobs", json=body)
        self.assertEqual((again.status_code, again.json()["error"]["errors"][0]["reason"]), (409, "duplicate"))
        job = client().get_job(job_id)
        job.result()
        self.assertEqual((job.labels, job.state), ({"run": "r1"}, "DONE"))


class Ways(Case):
    """What a migration may have made of a table, and what is refused on the way back."""

    def test_a_replaced_table_is_read_as_it_was(self):
        self.rich()
        before, cut = self.get("t"), millis()
        self.run_(
            "CREATE OR REPLACE TABLE `{d}.t` PARTITION BY DATE(at) CLUSTER BY name AS "
            "SELECT 'new' AS name, CURRENT_TIMESTAMP() AS at, 7 AS other"
        )
        self.run_(f"CREATE TABLE `{{d}}.x` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)}")
        back = self.get("x")
        for kept in ("schema", "clustering", "tableConstraints"):
            self.assertEqual(back[kept], before[kept])
        self.assertEqual((back["numRows"], back["timePartitioning"]["field"]), ("1", "at"))
        self.refused("CREATE TABLE `{d}.x` CLONE `{d}.t`", "Already Exists: Table", "duplicate", 409)

    def test_each_kind_has_its_own_drop(self):
        self.plain("table_")
        self.run_("CREATE SNAPSHOT TABLE `{d}.snapshot` CLONE `{d}.table_`")
        self.run_("CREATE VIEW `{d}.view` AS SELECT 1 AS a")
        self.run_("CREATE MATERIALIZED VIEW `{d}.materialized` AS SELECT a, COUNT(*) AS n FROM `{d}.table_` GROUP BY a")
        self.run_("CREATE EXTERNAL TABLE `{d}.external` OPTIONS(format='CSV', uris=['gs://bucket/file.csv'])")
        kinds = {
            "table_": ("TABLE", "TABLE"),
            "snapshot": ("SNAPSHOT TABLE", "SNAPSHOT"),
            "view": ("VIEW", "VIEW"),
            "materialized": ("MATERIALIZED VIEW", "MATERIALIZED_VIEW"),
            "external": ("EXTERNAL TABLE", "EXTERNAL"),
        }
        listed = HTTP.get(f"{API}/datasets/{self.dataset}/tables").json()["tables"]
        found = {table["tableReference"]["tableId"]: table["type"] for table in listed}
        self.assertEqual(found, {name: kind for name, (_, kind) in kinds.items()})
        self.assertEqual(self.get("external")["externalDataConfiguration"]["sourceFormat"], "CSV")
        for name, (verb, kind) in kinds.items():
            self.assertEqual(self.get(name)["type"], kind)
            for other, _ in kinds.values():
                if other != verb:
                    self.refused(f"DROP {other} `{{d}}.{name}`", f"currently a {kind}", "invalid")
            if name != "table_":
                self.refused(f"CREATE OR REPLACE TABLE `{{d}}.{name}` (a INT64)", f"currently a {kind}", "invalid")
        for name, (verb, _) in reversed(kinds.items()):
            self.run_(f"DROP {verb} `{{d}}.{name}`")
            self.assertEqual(HTTP.get(f"{API}/datasets/{self.dataset}/tables/{name}").status_code, 404)
            self.refused(f"DROP {verb} `{{d}}.{name}`", "Not found", "notFound", 404)
            self.run_(f"DROP {verb} IF EXISTS `{{d}}.{name}`")

    def limits(self, **given):
        before = HTTP.put(f"{HOST}/emulator/limits", json=given).json()
        self.addCleanup(HTTP.put, f"{HOST}/emulator/limits", json=before)

    def test_snapshots_a_day_and_copies_of_a_base_are_limited(self):
        self.plain()
        self.limits(snapshotsADay=2, copiesOfABase=3)
        self.run_("CREATE SNAPSHOT TABLE `{d}.s1` CLONE `{d}.t`; CREATE SNAPSHOT TABLE `{d}.s2` CLONE `{d}.t`")
        text = "Your table exceeded quota for snapshots per table per day"
        self.refused("CREATE SNAPSHOT TABLE `{d}.s3` CLONE `{d}.t`", text, "quotaExceeded", 403)
        self.run_("DROP SNAPSHOT TABLE `{d}.s2`")
        self.refused("CREATE SNAPSHOT TABLE `{d}.s2` CLONE `{d}.t`", text, "quotaExceeded", 403)
        self.run_("CREATE TABLE `{d}.c1` CLONE `{d}.t`; CREATE TABLE `{d}.c2` CLONE `{d}.t`")
        many = "Cannot have more than 3 active clones and snapshots of a table"
        self.refused("CREATE TABLE `{d}.c3` CLONE `{d}.t`", many, "invalid")
        self.run_("CREATE TABLE `{d}.c3` COPY `{d}.t`; DROP TABLE `{d}.c2`; CREATE TABLE `{d}.c4` CLONE `{d}.t`")

    def test_rows_in_the_streaming_buffer_are_in_no_copy(self):
        self.plain()
        self.limits(streamingBufferMs=600_000)
        self.assertEqual(client().insert_rows_json(self.t("t"), [{"a": 10}, {"a": 11}]), [])
        cut = millis()
        self.run_("INSERT INTO `{d}.t` VALUES (4)")
        table = self.get("t")
        self.assertEqual((self.count("t"), table["numRows"]), (6, "4"))
        self.assertEqual(table["streamingBuffer"]["estimatedRows"], "2")
        self.assertAlmostEqual(int(table["streamingBuffer"]["oldestEntryTime"]), cut, delta=5000)
        for made in ("SNAPSHOT TABLE `{d}.s` CLONE", "TABLE `{d}.c` CLONE", "TABLE `{d}.f` COPY"):
            self.run_(f"CREATE {made} `{{d}}.t`")
        self.assertEqual([self.count(name) for name in ("s", "c", "f")], [4, 4, 4])
        self.assertEqual(self.rows(f"SELECT COUNT(*) FROM `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)}"), [(5,)])
        HTTP.post(f"{HOST}/emulator/flush")
        self.assertNotIn("streamingBuffer", self.get("t"))
        self.assertEqual(self.get("t")["numRows"], "6")
        self.run_("CREATE TABLE `{d}.later` CLONE `{d}.t`")
        self.run_(f"CREATE TABLE `{{d}}.then` CLONE `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(cut)}")
        self.assertEqual((self.count("later"), self.count("then")), (6, 3))

    def iam(self, name: str, verb: str, body: dict) -> requests.Response:
        return HTTP.post(f"{API}/datasets/{self.dataset}/tables/{name}:{verb}", json=body)

    def test_a_policy_stays_with_a_replaced_table_and_goes_with_a_dropped_one(self):
        self.plain()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        empty = self.iam("t", "getIamPolicy", {}).json()
        self.assertNotIn("bindings", empty)
        bindings = [{"role": "roles/bigquery.dataViewer", "members": ["user:a@example.com"]}]
        kept = self.iam("t", "setIamPolicy", {"policy": {"bindings": bindings, "etag": empty["etag"]}}).json()
        self.assertEqual(kept["bindings"], bindings)
        self.assertNotEqual(kept["etag"], empty["etag"])
        stale = self.iam("t", "setIamPolicy", {"policy": {"bindings": [], "etag": empty["etag"]}})
        self.assertGreaterEqual(stale.status_code, 400)
        self.run_("CREATE OR REPLACE TABLE `{d}.t` CLONE `{d}.s`")
        self.assertEqual(self.iam("t", "getIamPolicy", {}).json(), kept)
        self.run_("CREATE OR REPLACE TABLE `{d}.t` COPY `{d}.s`")
        self.run_("CREATE OR REPLACE TABLE `{d}.t` AS SELECT 1 AS a")
        self.assertEqual(self.iam("t", "getIamPolicy", {}).json(), kept)
        self.run_("CREATE TABLE `{d}.c` CLONE `{d}.t`")
        self.assertEqual(self.iam("c", "getIamPolicy", {}).json(), empty)
        self.run_("DROP TABLE `{d}.t`")
        self.assertEqual(self.iam("t", "getIamPolicy", {}).status_code, 404)
        self.run_("CREATE TABLE `{d}.t` CLONE `{d}.s`")
        self.assertEqual(self.iam("t", "getIamPolicy", {}).json(), empty)

    def test_row_policies_travel_with_clones_and_go_with_a_dropped_table(self):
        self.plain()
        url = f"{API}/datasets/{self.dataset}/tables/{{}}/rowAccessPolicies"
        policy = {
            "rowAccessPolicyReference": {
                "projectId": PROJECT, "datasetId": self.dataset, "tableId": "t", "policyId": "all_rows",
            },
            "filterPredicate": "TRUE",
            "grantees": ["allAuthenticatedUsers"],
        }
        self.assertEqual(HTTP.post(url.format("t"), json=policy).status_code, 200)
        self.run_("CREATE ROW ACCESS POLICY one ON `{d}.t` GRANT TO ('user:a@example.com') FILTER USING (a = 1)")
        self.run_("CREATE TABLE `{d}.c` CLONE `{d}.t`")
        for name in ("t", "c"):
            found = HTTP.get(url.format(name)).json()["rowAccessPolicies"]
            ids = {p["rowAccessPolicyReference"]["policyId"]: p["filterPredicate"] for p in found}
            self.assertEqual(ids, {"all_rows": "TRUE", "one": "a = 1"})
            self.assertFalse(any("grantees" in p for p in found), found)
            granted = HTTP.post(f"{url.format(name)}/one:getIamPolicy", json={}).json()["bindings"]
            viewers = {"role": "roles/bigquery.filteredDataViewer", "members": ["user:a@example.com"]}
            self.assertEqual(granted, [viewers])
        self.assertEqual(HTTP.post(f"{url.format('c')}:batchDelete", json={"policyIds": ["one"]}).status_code, 200)
        self.assertEqual(len(HTTP.get(url.format("c")).json()["rowAccessPolicies"]), 1)
        self.run_("DROP ALL ROW ACCESS POLICIES ON `{d}.c`")
        self.assertEqual(HTTP.get(url.format("c")).json(), {})
        self.run_("DROP TABLE `{d}.t`; CREATE TABLE `{d}.t` (a INT64)")
        self.assertEqual(HTTP.get(url.format("t")).json(), {})

    def test_an_ingestion_time_table_keeps_its_partitions(self):
        reference = {"projectId": PROJECT, "datasetId": self.dataset}
        body = {
            "tableReference": reference | {"tableId": "t"},
            "schema": {"fields": [{"name": "a", "type": "INTEGER", "mode": "REQUIRED", "description": "the key"}]},
            "timePartitioning": {"type": "DAY"},
            "clustering": {"fields": ["a"]},
            "labels": {"team": "x"},
            "tableConstraints": {"primaryKey": {"columns": ["a"]}},
        }
        self.assertEqual(HTTP.post(f"{API}/datasets/{self.dataset}/tables", json=body).status_code, 200)
        made = self.get("t")
        for key in ("schema", "timePartitioning", "clustering", "labels", "tableConstraints"):
            self.assertEqual(made[key], body[key])
        self.run_("INSERT INTO `{d}.t` (_PARTITIONTIME, a) SELECT TIMESTAMP '2026-01-02 00:00:00+00:00', 1")
        cut = millis()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`; DROP TABLE `{d}.t`; CREATE TABLE `{d}.t` CLONE `{d}.s`")
        self.run_("INSERT INTO `{d}.t` (a) VALUES (2)")
        days = self.rows("SELECT a, DATE(_PARTITIONTIME) < CURRENT_DATE() FROM `{d}.t` ORDER BY a")
        self.assertEqual(days, [(1, True), (2, False)])
        self.assertEqual(self.rows("SELECT * FROM `{d}.t` ORDER BY a"), [(1,), (2,)])
        url = f"{API}/datasets/{self.dataset}/tables/t"
        self.assertEqual((HTTP.delete(url).status_code, HTTP.get(url).status_code), (204, 404))


WIDE = [
    {"name": "id", "type": "INTEGER", "mode": "REQUIRED", "description": "the key"},
    {"name": "name", "type": "STRING", "mode": "NULLABLE", "maxLength": "20", "defaultValueExpression": "'nobody'"},
    {"name": "price", "type": "NUMERIC", "mode": "NULLABLE", "precision": "10", "scale": "2"},
    {"name": "size", "type": "FLOAT", "mode": "NULLABLE"},
    {"name": "good", "type": "BOOLEAN", "mode": "NULLABLE"},
    {"name": "day", "type": "DATE", "mode": "NULLABLE"},
    {"name": "at", "type": "TIMESTAMP", "mode": "NULLABLE"},
    {"name": "local", "type": "DATETIME", "mode": "NULLABLE"},
    {"name": "clock", "type": "TIME", "mode": "NULLABLE"},
    {"name": "raw", "type": "BYTES", "mode": "NULLABLE"},
]
NESTED = [
    {"name": "tags", "type": "STRING", "mode": "REPEATED"},
    {
        "name": "places", "type": "RECORD", "mode": "REPEATED", "fields": [
            {"name": "city", "type": "STRING", "mode": "REQUIRED", "description": "of birth"},
            {"name": "since", "type": "DATE", "mode": "NULLABLE"},
        ],
    },
]
VALUES = (1, "x", decimal.Decimal("1.50"), 0.5, True, datetime.date(2026, 1, 2))
DAY = {"timePartitioning": {"type": "DAY", "field": "day"}, "clustering": {"fields": ["name"]}}


class Loads(Case):
    """Load jobs with the file in the request."""

    def setUp(self):
        super().setUp()
        self.upload = f"{HOST}/upload/bigquery/v2/projects/{PROJECT}/jobs"

    def job(self, name: str, fields: list[dict] | None, **config) -> dict:
        table = {"projectId": PROJECT, "datasetId": self.dataset, "tableId": name}
        load = {"destinationTable": table, "sourceFormat": "CSV"} | ({"schema": {"fields": fields}} if fields else {})
        reference = {"projectId": PROJECT, "jobId": f"j_{uuid.uuid4().hex}", "location": "US"}
        return {"jobReference": reference, "configuration": {"load": load | config, "labels": {"run": "r1"}}}

    def multipart(self, job: dict, data: bytes) -> requests.Response:
        mark = f"=={uuid.uuid4().hex}=="
        head = f"--{mark}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(job)}\r\n"
        body = f"{head}--{mark}\r\nContent-Type: */*\r\n\r\n".encode() + data + f"\r\n--{mark}--".encode()
        kind = {"Content-Type": f'multipart/related; boundary="{mark}"'}
        return HTTP.post(self.upload, params={"uploadType": "multipart"}, data=body, headers=kind)

    def ended(self, job: dict) -> dict:
        found = client().get_job(job["jobReference"]["jobId"])
        try:
            found.result()
        except exceptions.GoogleAPICallError:
            pass
        return client().get_job(found.job_id)._properties

    def load(self, name: str, fields: list[dict] | None, data: bytes, **config) -> dict:
        job = self.job(name, fields, **config)
        answer = self.multipart(job, data)
        self.assertEqual(answer.status_code, 200, answer.text)
        return self.ended(job)

    def loaded(self, name: str, fields: list[dict] | None, data: bytes, **config) -> dict:
        job = self.load(name, fields, data, **config)
        self.assertNotIn("errorResult", job["status"], job["status"])
        return job

    def not_loaded(self, text: str, fields: list[dict], data: bytes, **config):
        job = self.load("never", fields, data, **config)
        self.assertEqual(job["status"].get("errorResult", {}).get("reason"), "invalid", job["status"])
        self.assertIn(text, job["status"]["errorResult"]["message"])
        self.assertEqual(HTTP.get(f"{API}/datasets/{self.dataset}/tables/never").status_code, 404)

    def holds(self, name: str, fields: list[dict]):
        """The table is as the job says, to the letter, and holds the one row."""
        table = self.get(name)
        self.assertEqual(table["schema"]["fields"], fields)
        self.assertEqual((table["timePartitioning"], table["clustering"]), tuple(DAY.values()))
        columns = "id, name, price, size, good, day, UNIX_SECONDS(at), local, clock, raw"
        row = self.rows(f"SELECT {columns} FROM `{{d}}.{name}`")
        self.assertEqual(row[0][:6], VALUES)
        then = datetime.datetime(2026, 1, 2, 3, 4, 5)
        self.assertEqual(row[0][6:9], (1767323045, then, then.time()))
        self.assertEqual(row[0][9], b"ab")

    def test_every_format_gives_the_schema_and_layout_that_was_asked_for(self):
        times = "2026-01-02,2026-01-02 03:04:05+00:00,2026-01-02T03:04:05,03:04:05"
        csv = f"id,name\n1,x,1.50,0.5,true,{times},YWI=\n".encode()
        job = self.loaded("csv", WIDE, csv, skipLeadingRows=1, **DAY)
        self.holds("csv", WIDE)
        self.assertEqual(job["statistics"]["load"]["outputRows"], "1")
        self.assertEqual(job["configuration"]["labels"], {"run": "r1"})
        self.loaded("packed", WIDE, gzip.compress(csv), skipLeadingRows=1, **DAY)
        self.holds("packed", WIDE)
        row = {
            "id": 1, "name": "x", "price": "1.50", "size": 0.5, "good": True, "day": "2026-01-02",
            "at": "2026-01-02T03:04:05Z", "local": "2026-01-02T03:04:05", "clock": "03:04:05", "raw": "YWI=",
            "tags": ["a", "b"], "places": [{"city": "here", "since": "2026-01-01"}, {"city": "there"}],
        }
        lines = (json.dumps(row) + "\n").encode()
        for name, data in (("json", lines), ("json_packed", gzip.compress(lines))):
            self.loaded(name, WIDE + NESTED, data, sourceFormat="NEWLINE_DELIMITED_JSON", **DAY)
            self.holds(name, WIDE + NESTED)
            nested = self.rows(f"SELECT tags, places[OFFSET(1)].city FROM `{{d}}.{name}`")
            self.assertEqual(nested, [(["a", "b"], "there")])
        now = datetime.datetime(2026, 1, 2, 3, 4, 5)
        typed = row | {
            "price": VALUES[2], "day": VALUES[5], "at": now.replace(tzinfo=datetime.UTC), "local": now,
            "clock": now.time(), "raw": b"ab",
            "places": [{"city": "here", "since": VALUES[5]}, {"city": "there", "since": None}],
        }
        place = pa.struct([pa.field("city", pa.string(), False), ("since", pa.date32())])
        kinds = {
            "id": pa.int64(), "name": pa.string(), "price": pa.decimal128(10, 2), "size": pa.float64(),
            "good": pa.bool_(),
            "day": pa.date32(), "at": pa.timestamp("us", "UTC"), "local": pa.timestamp("us"), "clock": pa.time64("us"),
            "raw": pa.binary(), "tags": pa.list_(pa.string()), "places": pa.list_(place),
        }
        file = io.BytesIO()
        pyarrow.parquet.write_table(pa.Table.from_pylist([typed], pa.schema(kinds)), file)
        self.loaded("parquet", WIDE + NESTED, file.getvalue(), sourceFormat="PARQUET", **DAY)
        self.holds("parquet", WIDE + NESTED)
        self.assertEqual(self.rows("SELECT tags, places[OFFSET(1)].city FROM `{d}.parquet`"), [(["a", "b"], "there")])
        optional = lambda kind: ["null", kind]
        logical = lambda kind, name, **more: {"type": kind, "logicalType": name} | more
        record = {"type": "record", "name": "place", "fields": [
            {"name": "city", "type": "string"}, {"name": "since", "type": optional(logical("int", "date"))},
        ]}
        avro = {"type": "record", "name": "row", "fields": [
            {"name": "id", "type": "long"}, {"name": "name", "type": optional("string")},
            {"name": "price", "type": optional(logical("bytes", "decimal", precision=10, scale=2))},
            {"name": "size", "type": optional("double")}, {"name": "good", "type": optional("boolean")},
            {"name": "day", "type": optional(logical("int", "date"))},
            {"name": "at", "type": optional(logical("long", "timestamp-micros"))},
            {"name": "local", "type": optional(logical("long", "local-timestamp-micros"))},
            {"name": "clock", "type": optional(logical("long", "time-micros"))},
            {"name": "raw", "type": optional("bytes")}, {"name": "tags", "type": {"type": "array", "items": "string"}},
            {"name": "places", "type": {"type": "array", "items": record}},
        ]}
        file = io.BytesIO()
        fastavro.writer(file, fastavro.parse_schema(avro), [typed])
        self.loaded("avro", WIDE + NESTED, file.getvalue(), sourceFormat="AVRO", useAvroLogicalTypes=True, **DAY)
        self.holds("avro", WIDE + NESTED)

    def test_csv_says_what_is_null_and_what_is_quoted(self):
        fields = [{"name": name, "type": "STRING", "mode": "NULLABLE"} for name in ("a", "b")]
        data = b"head;x\n'1;2';\\N\n'two\nlines';''\n"
        options = {"skipLeadingRows": 1, "fieldDelimiter": ";", "quote": "'", "nullMarker": "\\N"}
        self.not_loaded("Missing close quote", fields, data, **options)
        self.loaded("t", fields, data, allowQuotedNewlines=True, **options)
        self.assertEqual(self.rows("SELECT a, b FROM `{d}.t` ORDER BY a"), [("1;2", None), ("two\nlines", "")])
        self.loaded("u", fields, b'x,\ny,""\n')
        self.assertEqual(self.rows("SELECT a, b FROM `{d}.u` ORDER BY a"), [("x", None), ("y", "")])

    def test_a_bad_row_fails_the_job_and_leaves_no_table(self):
        fields = [WIDE[0], WIDE[1], WIDE[5]]
        errors = "too many errors"
        longer = b"1," + b"y" * 21 + b",\n"
        for data in (b"1,x,2026-01-02\n1.5,x,2026-01-02\n", b"a,x,\n", b",x,\n", b"1,x,2026-13-01\n", longer):
            self.not_loaded(errors, fields, data)
        self.not_loaded("reading data", fields, b"1,x\n")
        self.not_loaded("reading data", fields, b"1,x,2026-01-02,more\n")
        self.not_loaded("gzip", fields, gzip.compress(b"1,x,\n" * 1000)[:-9])
        lines = {"sourceFormat": "NEWLINE_DELIMITED_JSON"}
        self.not_loaded("No such field: more", fields, b'{"id": 1, "more": 2}\n', **lines)
        inner = b'{"id": 1, "places": [{"city": "x", "zip": 1}]}\n'
        self.not_loaded("No such field: places.zip", WIDE[:1] + NESTED, inner, **lines)
        self.not_loaded(errors, fields, b'{"name": "x"}\n', **lines)
        self.not_loaded("JSON parsing error", fields, b'{"id": 1\n', **lines)
        self.not_loaded("No schema", None, b"1\n")
        file = io.BytesIO()
        pyarrow.parquet.write_table(pa.table({"id": pa.array([1, None], pa.int64())}), file)
        self.not_loaded("Only optional fields", WIDE[:1], file.getvalue(), sourceFormat="PARQUET")
        self.not_loaded("reading data", WIDE[:1], b"no parquet at all", sourceFormat="PARQUET")

    def test_dispositions_and_layouts(self):
        fields = [WIDE[0], WIDE[5]]
        buckets = {"rangePartitioning": {"field": "id", "range": {"start": "0", "end": "10", "interval": "2"}}}
        self.loaded("r", fields, b"1,2026-01-02\n", **buckets)
        self.assertEqual(self.get("r")["rangePartitioning"], buckets["rangePartitioning"])
        job = self.load("r", fields, b"2,\n", writeDisposition="WRITE_EMPTY", **buckets)
        self.assertEqual(job["status"]["errorResult"]["reason"], "duplicate")
        job = self.load("r", fields, b"2,\n", timePartitioning={"type": "DAY", "field": "day"})
        self.assertIn("Incompatible table partitioning", job["status"]["errorResult"]["message"])
        self.loaded("r", None, b"2,\n")
        self.assertEqual(self.count("r"), 2)
        self.loaded("r", fields, b"3,\n", writeDisposition="WRITE_TRUNCATE", **buckets)
        self.assertEqual((self.count("r"), self.get("r")["schema"]["fields"]), (1, fields))
        self.loaded("i", fields, b"1,2026-01-02\n", timePartitioning={"type": "DAY"})
        self.assertEqual(self.rows("SELECT id FROM `{d}.i` WHERE DATE(_PARTITIONTIME) = CURRENT_DATE()"), [(1,)])
        self.assertEqual(self.get("i")["schema"]["fields"], fields)

    def test_an_id_is_used_once(self):
        job = self.job("t", WIDE[:1])
        self.assertEqual(self.multipart(job, b"1\n").status_code, 200)
        again = self.multipart(job, b"1\n")
        self.assertEqual((again.status_code, again.json()["error"]["errors"][0]["reason"]), (409, "duplicate"))
        self.ended(job)
        self.assertEqual(self.count("t"), 1)

    def begin(self, job: dict, size: int) -> str:
        headers = {"X-Upload-Content-Type": "*/*", "X-Upload-Content-Length": str(size)}
        answer = HTTP.post(self.upload, params={"uploadType": "resumable"}, json=job, headers=headers)
        self.assertEqual((answer.status_code, answer.content), (200, b""))
        place = answer.headers["Location"]
        self.assertTrue(place.startswith(f"{self.upload}?"), place)
        return place

    def put(self, place: str, told: str, chunk: bytes = b"") -> tuple[int, str | None]:
        answer = HTTP.put(place, data=chunk, headers={"Content-Range": f"bytes {told}"})
        return answer.status_code, answer.headers.get("Range")

    def test_a_resumable_upload_goes_on_where_it_was_cut(self):
        unit = 256 * 1024
        data = b"".join(b"%08d\n" % n for n in range(unit * 3 // 9))
        size = len(data)
        job = self.job("t", WIDE[:1])
        place = self.begin(job, size)
        self.assertEqual(self.put(place, f"*/{size}"), (308, None))
        self.assertEqual(self.put(place, f"0-{unit - 1}/{size}", data[:unit]), (308, f"bytes=0-{unit - 1}"))
        # The answer was lost and the chunk is sent again, with more behind it.
        landed = (308, f"bytes=0-{2 * unit - 1}")
        self.assertEqual(self.put(place, f"0-{2 * unit - 1}/{size}", data[: 2 * unit]), landed)
        self.assertEqual(self.put(place, f"*/{size}"), landed)
        self.assertEqual(self.put(place, f"{2 * unit}-{2 * unit + 9}/{size}", b"0" * 10)[0], 400)
        self.assertEqual(self.put(place, f"{2 * unit + 9}-{size - 1}/{size}", data[2 * unit + 9 :])[0], 400)
        rest = data[2 * unit :]
        self.assertEqual(self.put(place, f"{2 * unit}-{size - 1}/{size}", rest), (200, None))
        # The last answer was lost: the same again.
        self.assertEqual(self.put(place, f"*/{size}"), (200, None))
        again = HTTP.put(place, data=rest, headers={"Content-Range": f"bytes {2 * unit}-{size - 1}/{size}"})
        self.assertEqual(again.json()["jobReference"]["jobId"], job["jobReference"]["jobId"])
        self.assertNotIn("errorResult", self.ended(job)["status"])
        self.assertEqual(self.rows("SELECT COUNT(*), SUM(id) FROM `{d}.t`"), [(size // 9, sum(range(size // 9)))])
        self.assertEqual(self.put(place.split("upload_id=")[0] + "upload_id=nothing", "*/1")[0], 404)
        second = self.begin(job, 2)
        self.assertEqual(self.put(second, "0-1/2", b"1\n")[0], 409)

    def test_google_s_client_loads_both_ways(self):
        config = bigquery.LoadJobConfig(
            schema=[bigquery.SchemaField("id", "INTEGER", "REQUIRED")], source_format="CSV", skip_leading_rows=0
        )
        client().load_table_from_file(io.BytesIO(b"1\n2\n"), self.t("small"), job_config=config, size=4).result()
        large = b"7\n" * 300_000
        client().load_table_from_file(io.BytesIO(large), self.t("large"), job_config=config).result()
        self.assertEqual((self.count("small"), self.count("large")), (2, 300_000))


class Jobs(Case):
    def insert(self, sql: str, job_id: str | None = None, location: str | None = None, **config) -> requests.Response:
        query = {"query": sql.replace("{d}", f"{PROJECT}.{self.dataset}"), "useLegacySql": False}
        body = {"configuration": {"query": query | config.pop("query", {})} | config}
        reference = {k: v for k, v in (("jobId", job_id), ("location", location)) if v}
        if reference:
            body["jobReference"] = reference | {"projectId": PROJECT}
        return HTTP.post(f"{API}/jobs", json=body)

    def job(self, job_id: str, **params) -> dict:
        answer = HTTP.get(f"{API}/jobs/{job_id}", params=params)
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()

    def finished(self, sql: str, **config) -> dict:
        job_id = f"j_{uuid.uuid4().hex}"
        answer = self.insert(sql, job_id, **config)
        self.assertEqual(answer.status_code, 200, answer.text)
        location = answer.json()["jobReference"]["location"]
        HTTP.get(f"{API}/queries/{job_id}", params={"maxResults": 0, "timeoutMs": 60000, "location": location})
        job = self.job(job_id, location=location)
        self.assertEqual(job["status"]["state"], "DONE")
        return job

    def children(self, job: dict) -> list[dict]:
        params = {"parentJobId": job["jobReference"]["jobId"], "projection": "full"}
        found = HTTP.get(f"{API}/jobs", params=params).json().get("jobs", [])
        return sorted(found, key=lambda child: (int(child["statistics"]["startTime"]), int(child["id"].rsplit("_", 1)[1])))

    def test_an_id_is_used_once_also_after_failure(self):
        for sql in ("SELECT 1", "SELECT * FROM `{d}.nothing`"):
            job_id = f"j_{uuid.uuid4().hex}"
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(self.insert, [sql] * 4, [job_id] * 4, ["US"] * 4))
            self.assertEqual(sorted(a.status_code for a in answers), [200, 409, 409, 409])
            HTTP.get(f"{API}/queries/{job_id}", params={"timeoutMs": 10000})
            again = self.insert(sql, job_id, "US")
            self.assertEqual(again.status_code, 409)
            error = again.json()["error"]
            self.assertEqual(error["errors"][0]["reason"], "duplicate")
            self.assertIn(f"Already Exists: Job {PROJECT}:", error["message"])
            self.assertIn(job_id, error["message"])

    def test_jobs_are_found_in_their_location(self):
        job_id = f"j_{uuid.uuid4().hex}"
        inserted = self.insert("SELECT 1", job_id, "europe-west3").json()
        self.assertEqual(inserted["jobReference"]["location"], "europe-west3")
        for path in (f"jobs/{job_id}", f"queries/{job_id}"):
            self.assertEqual(HTTP.get(f"{API}/{path}", params={"location": "europe-west3"}).status_code, 200)
            for params in ({"location": "US"}, {}):
                answer = HTTP.get(f"{API}/{path}", params=params)
                self.assertEqual((answer.status_code, answer.json()["error"]["errors"][0]["reason"]), (404, "notFound"))
        self.assertEqual(HTTP.get(f"{API}/jobs/nothing").status_code, 404)

    def test_a_job_elsewhere_does_not_see_the_dataset(self):
        self.plain()
        job = self.finished("SELECT * FROM `{d}.t`", location="EU")
        self.assertEqual(job["status"]["errorResult"]["reason"], "notFound")
        self.assertIn("was not found in location EU", job["status"]["errorResult"]["message"])

    def test_legacy_sql_is_the_default_and_refused(self):
        answer = HTTP.post(f"{API}/queries", json={"query": "SELECT 1"})
        self.assertEqual(answer.status_code, 400)

    def test_labels_stay_and_bad_ones_are_refused(self):
        job = self.finished("SELECT 1", labels={"run": "r1", "empty": ""})
        self.assertEqual(job["configuration"]["labels"], {"run": "r1", "empty": ""})
        self.assertEqual(self.insert("SELECT 1", labels={"Run": "x"}).status_code, 400)

    def test_results_wait_and_page(self):
        job = self.finished("SELECT x, NULL AS n FROM UNNEST(GENERATE_ARRAY(1, 5)) AS x ORDER BY x")
        url = f"{API}/queries/{job['jobReference']['jobId']}"
        none = HTTP.get(url, params={"maxResults": 0, "timeoutMs": 1000, "location": "US"}).json()
        self.assertEqual((none["jobComplete"], none["totalRows"], none.get("rows")), (True, "5", None))
        first = HTTP.get(url, params={"maxResults": 3}).json()
        self.assertEqual(first["rows"][0], {"f": [{"v": "1"}, {"v": None}]})
        rest = HTTP.get(url, params={"pageToken": first["pageToken"]}).json()
        self.assertEqual([row["f"][0]["v"] for row in rest["rows"]], ["4", "5"])
        self.assertNotIn("pageToken", rest)

    def test_parameters(self):
        struct = bigquery.StructQueryParameter(
            "s", bigquery.ScalarQueryParameter("x", "INT64", 3), bigquery.ScalarQueryParameter("y", "STRING", "z")
        )
        job = run(
            "SELECT (SELECT SUM(e) FROM UNNEST(@a) AS e) + @s.x, @s.y, @d",
            query_parameters=[
                bigquery.ArrayQueryParameter("a", "INT64", [1, 2]), struct,
                bigquery.ScalarQueryParameter("d", "DATE", datetime.date(2026, 1, 2)),
            ],
        )
        self.assertEqual([tuple(r.values()) for r in job.result()], [(6, "z", datetime.date(2026, 1, 2))])

    def test_dry_run_tells_and_does_nothing(self):
        self.plain()
        before = self.get("t")
        dry = {"dryRun": True}
        created = self.insert("CREATE TABLE `{d}.new` AS SELECT a FROM `{d}.t`", **dry).json()["statistics"]
        self.assertEqual(created["query"]["statementType"], "CREATE_TABLE_AS_SELECT")
        self.assertEqual(created["query"]["ddlTargetTable"]["tableId"], "new")
        self.assertEqual([t["tableId"] for t in created["query"]["referencedTables"]], ["t"])
        self.assertGreater(int(created["totalBytesProcessed"]), 0)
        for sql in ("DELETE FROM `{d}.t` WHERE TRUE", "INSERT INTO `{d}.t` VALUES (1)", "TRUNCATE TABLE `{d}.t`",
                    "MERGE `{d}.t` t USING `{d}.t` s ON t.a = s.a WHEN MATCHED THEN DELETE",
                    "DROP TABLE `{d}.t`", "CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`",
                    "ALTER TABLE `{d}.t` ADD COLUMN z INT64",
                    "INSERT INTO `{d}.t` VALUES (1); DELETE FROM `{d}.t` WHERE TRUE"):
            answer = self.insert(sql, **dry)
            self.assertEqual(answer.status_code, 200, (sql, answer.text))
        self.assertEqual(self.get("t"), before)
        self.assertEqual(len(list(client().list_tables(self.dataset))), 1)

    def test_dry_run_finds_faults(self):
        self.plain()
        for sql in ("SELECT nope FROM `{d}.t`", "SELECT * FROM `{d}.nope`", "SELEC 1", "UPDATE `{d}.t` SET z = 1 WHERE TRUE",
                    "INSERT INTO `{d}.nope` VALUES (1)", "CREATE TABLE `{d}.t` (a INT64)",
                    "CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.nope`", "DROP TABLE `{d}.nope`",
                    "INSERT INTO `{d}.t` VALUES (1); SELECT nope FROM `{d}.t`", "SELECT 1; SELECT * FROM WHERE",
                    "CREATE OR REPLACE TABLE `{d}.t` CLUSTER BY a AS SELECT 1 AS a",
                    "MERGE `{d}.t` t USING `{d}.t` s ON t.a = s.nope WHEN MATCHED THEN DELETE"):
            answer = self.insert(sql, dryRun=True)
            self.assertIn(answer.status_code, (400, 404, 409), (sql, answer.text))

    def test_a_script_is_validated_to_its_first_ddl(self):
        self.plain()
        sql = "CREATE TABLE `{d}.n` AS SELECT 1 AS a; SELECT nope FROM `{d}.n`"
        self.assertEqual(self.insert(sql, dryRun=True).status_code, 200)

    def test_dml_jobs_say_what_they_wrote(self):
        self.plain()
        self.plain("s", "[3, 4]")
        target = {"projectId": PROJECT, "datasetId": self.dataset, "tableId": "t"}
        for sql, kind, stats in (
            ("INSERT INTO `{d}.t` VALUES (5)", "INSERT", {"insertedRowCount": "1"}),
            ("UPDATE `{d}.t` SET a = a WHERE a < 3", "UPDATE", {"updatedRowCount": "2"}),
            ("DELETE FROM `{d}.t` WHERE a = 1", "DELETE", {"deletedRowCount": "1"}),
            ("MERGE `{d}.t` t USING `{d}.s` s ON t.a = s.a WHEN MATCHED THEN DELETE "
             "WHEN NOT MATCHED THEN INSERT (a) VALUES (a)", "MERGE",
             {"insertedRowCount": "1", "updatedRowCount": "0", "deletedRowCount": "1"}),
            ("TRUNCATE TABLE `{d}.t`", "TRUNCATE_TABLE", {"deletedRowCount": "3"}),
        ):
            with self.subTest(kind):
                job = self.finished(sql)
                self.assertNotIn("errorResult", job["status"])
                query = job["statistics"]["query"]
                self.assertEqual((query["statementType"], query["dmlStats"]), (kind, stats))
                self.assertEqual(job["configuration"]["query"]["destinationTable"], target)
                answer = HTTP.get(f"{API}/queries/{job['jobReference']['jobId']}").json()
                self.assertNotIn("rows", answer)
                self.assertLessEqual(int(self.get("t")["lastModifiedTime"]), int(job["statistics"]["endTime"]))
                self.assertGreaterEqual(int(self.get("t")["lastModifiedTime"]), int(job["statistics"]["startTime"]))

    SCRIPT = """
-- a migration
DECLARE n INT64 DEFAULT (SELECT COUNT(*) FROM `{d}.t`);
INSERT INTO `{d}.t` VALUES (4), (5);
UPDATE `{d}.t` SET a = a + 1 WHERE a > 3;
DELETE FROM `{d}.t` WHERE a = 1;
CREATE TABLE `{d}.made` AS SELECT * FROM `{d}.t`;
ALTER TABLE `{d}.made` ADD COLUMN b STRING;
IF n > 0 THEN
  DROP TABLE `{d}.made`;
END IF;
SELECT COUNT(*) AS n FROM `{d}.t`;
"""

    def test_where_a_script_failed(self):
        self.plain()
        d = self.dataset
        procedure = f"CREATE OR REPLACE PROCEDURE `{d}.fails`()\nBEGIN\n  SELECT 1;\n  SELECT ERROR('inside');\nEND;\n"
        for script, place, frames in [
            ("SELECT 1;\r\n\tSELECT /* \u8868 */ ERROR('bad');", "[2:9]", [(2, 9)]),
            ("BEGIN\n SELECT ERROR('a');\nEXCEPTION WHEN ERROR THEN\n SELECT 1;\nEND;\nSELECT ERROR('b');", "[6:1]", [(6, 1)]),
            ("BEGIN\n SELECT ERROR('a');\nEXCEPTION WHEN ERROR THEN\n RAISE;\nEND;", "[2:2]", [(2, 2)]),
            (f"{procedure}CALL `{d}.fails`();", f"{d}.fails:2:3]", [(2, 3), (6, 1)]),
        ]:
            job = self.finished(script)
            self.assertTrue(job["status"]["errorResult"]["message"].endswith(place), job["status"])
            failed = [child for child in self.children(job) if "errorResult" in child["status"]][-1]
            told = failed["statistics"]["scriptStatistics"]["stackFrames"]
            self.assertEqual([(frame["startLine"], frame["startColumn"]) for frame in told], frames)
        self.assertTrue(told[0]["procedureId"].endswith(".fails"))
        self.assertNotIn("procedureId", told[1])
        wrong = self.finished("SELECT 1;\n-- x\nSELECT 2 FROM\n WHERE 1;")
        self.assertRegex(wrong["status"]["errorResult"]["message"], r"at \[[34]:\d+\]$")

    def test_children_of_a_script(self):
        self.plain()
        job = self.finished(self.SCRIPT)
        self.assertNotIn("errorResult", job["status"])
        children = self.children(job)
        self.assertEqual(job["statistics"]["query"]["statementType"], "SCRIPT")
        self.assertEqual(job["statistics"]["numChildJobs"], str(len(children)))
        kinds = [child["statistics"]["query"]["statementType"] for child in children]
        self.assertEqual(
            kinds,
            ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE_TABLE_AS_SELECT", "ALTER_TABLE", "DROP_TABLE", "SELECT"],
        )
        declared, insert, update, delete, made, alter, drop, last = children
        self.assertEqual(declared["statistics"]["scriptStatistics"]["evaluationKind"], "EXPRESSION")
        frame = insert["statistics"]["scriptStatistics"]["stackFrames"][0]
        self.assertEqual((frame["startLine"], frame["startColumn"]), (4, 1))
        self.assertTrue(frame["text"].startswith("INSERT INTO"))
        self.assertEqual(insert["configuration"]["query"]["query"], frame["text"])
        self.assertEqual(insert["statistics"]["query"]["dmlStats"], {"insertedRowCount": "2"})
        self.assertEqual(update["statistics"]["query"]["numDmlAffectedRows"], "2")
        self.assertEqual(delete["configuration"]["query"]["destinationTable"]["tableId"], "t")
        self.assertEqual(made["configuration"]["query"]["destinationTable"]["tableId"], "made")
        self.assertEqual(made["statistics"]["query"]["ddlTargetTable"]["tableId"], "made")
        self.assertEqual(made["statistics"]["query"]["ddlOperationPerformed"], "CREATE")
        self.assertNotIn("destinationTable", alter["configuration"]["query"])
        self.assertEqual(drop["statistics"]["query"]["ddlOperationPerformed"], "DROP")
        for child in children:
            self.assertEqual(child["status"], {"state": "DONE"})
            statistics = child["statistics"]
            self.assertEqual(statistics["parentJobId"], job["jobReference"]["jobId"])
            self.assertLessEqual(int(statistics["startTime"]), int(statistics["endTime"]))
            self.assertIn("totalBytesBilled", statistics["query"])
            self.assertIn("totalSlotMs", statistics)
        self.assertLessEqual(int(self.get("t")["lastModifiedTime"]), int(delete["statistics"]["endTime"]))
        answer = HTTP.get(f"{API}/queries/{job['jobReference']['jobId']}").json()
        self.assertEqual(answer["rows"], [{"f": [{"v": "4"}]}])
        minimal = HTTP.get(f"{API}/jobs", params={"parentJobId": job["jobReference"]["jobId"]}).json()["jobs"]
        self.assertNotIn("configuration", minimal[0])

    def test_a_script_that_fails_half_way(self):
        self.plain()
        job = self.finished(
            "INSERT INTO `{d}.t` VALUES (4);\nSELECT 1;\nSELECT ERROR('no luck');\nDELETE FROM `{d}.t` WHERE TRUE;"
        )
        error = job["status"]["errorResult"]
        self.assertEqual((error["reason"], error["location"]), ("invalidQuery", "query"))
        self.assertIn("no luck", error["message"])
        self.assertIn("at [3:1]", error["message"])
        first, second, third = self.children(job)
        self.assertEqual([first["status"], second["status"]], [{"state": "DONE"}] * 2)
        self.assertEqual(third["errorResult"]["reason"], "invalidQuery")
        self.assertEqual(job["statistics"]["numChildJobs"], "3")
        self.assertEqual(self.count("t"), 4)

    def test_a_query_behind_temporary_functions_is_no_script(self):
        self.plain()
        function = "CREATE TEMP FUNCTION twice(n INT64) AS (n * 2); CREATE TEMP FUNCTION same(n INT64) AS (n);"
        dry = self.insert(f"{function} SELECT twice(same(a)) FROM `{{d}}.t`", dryRun=True).json()
        self.assertEqual(dry["statistics"]["query"]["statementType"], "SELECT")
        self.assertEqual(self.insert(f"{function} SELECT thrice(a) FROM `{{d}}.t`", dryRun=True).status_code, 400)

    def test_a_lone_assertion_is_no_script(self):
        self.plain()
        holds, fails = "ASSERT EXISTS(SELECT 1 FROM `{d}.t`) AS 'rows'", "ASSERT NOT EXISTS(SELECT 1 FROM `{d}.t`) AS 'no rows'"
        for sql in (holds, fails):
            dry = self.insert(sql, dryRun=True).json()
            self.assertEqual(dry["statistics"]["query"]["statementType"], "ASSERT")
        self.assertNotIn("errorResult", self.finished(holds)["status"])
        self.assertEqual(self.finished(fails)["status"]["errorResult"]["message"], "no rows")
        several = self.insert(f"{holds}; SELECT 1", dryRun=True).json()
        self.assertEqual(several["statistics"]["query"]["statementType"], "SCRIPT")

    def test_a_script_with_a_syntax_error_runs_nothing(self):
        self.plain()
        job = self.finished("INSERT INTO `{d}.t` VALUES (4); FROBNICATE THE TABLE; SELECT (")
        self.assertIn("Syntax error", job["status"]["errorResult"]["message"])
        self.assertEqual((self.children(job), self.count("t")), ([], 3))

    def test_a_transaction_is_covered_by_its_commit(self):
        self.plain()
        self.plain("s", "[3, 4]")
        job = self.finished(
            "BEGIN TRANSACTION; INSERT INTO `{d}.t` VALUES (4);"
            "MERGE `{d}.t` t USING `{d}.s` s ON t.a = s.a WHEN MATCHED THEN DELETE; COMMIT TRANSACTION;"
        )
        self.assertNotIn("errorResult", job["status"])
        children = self.children(job)
        kinds = [child["statistics"]["query"]["statementType"] for child in children]
        self.assertEqual(kinds, ["BEGIN_TRANSACTION", "INSERT", "MERGE", "COMMIT_TRANSACTION"])
        self.assertLessEqual(int(self.get("t")["lastModifiedTime"]), int(children[-1]["statistics"]["endTime"]))
        self.assertEqual(self.get("t")["numRows"], "2")

    def test_a_failed_transaction_leaves_nothing(self):
        self.plain()
        before = self.get("t")
        self.finished("BEGIN TRANSACTION; INSERT INTO `{d}.t` VALUES (4); SELECT ERROR('x'); COMMIT TRANSACTION;")
        self.assertEqual(self.get("t"), before)
        job = self.finished("BEGIN TRANSACTION; CREATE TABLE `{d}.u` (a INT64); COMMIT TRANSACTION;")
        self.assertIn("DDL statements are not supported in a transaction", job["status"]["errorResult"]["message"])

    def test_handled_errors_do_not_fail_the_script(self):
        job = self.finished("BEGIN SELECT ERROR('x'); EXCEPTION WHEN ERROR THEN SELECT @@error.message AS m; END")
        self.assertNotIn("errorResult", job["status"])
        self.assertIn("errorResult", self.children(job)[0]["status"])

    def test_a_failed_job_says_why(self):
        job = self.finished("SELECT * FROM `{d}.nothing`")
        self.assertEqual(job["status"]["state"], "DONE")
        self.assertEqual(job["status"]["errorResult"]["reason"], "notFound")
        self.assertIn("location", job["status"]["errorResult"])
        self.assertEqual(job["statistics"]["query"]["statementType"], "SELECT")
        answer = HTTP.get(f"{API}/queries/{job['jobReference']['jobId']}")
        self.assertEqual(answer.status_code, 404)

    def test_a_failed_replacement_keeps_the_table(self):
        self.rich()
        before = self.get("t")
        self.run_("CREATE OR REPLACE TABLE `{d}.p` (a INT64)")
        self.run_("INSERT INTO `{d}.p` VALUES (1)")
        self.refused("CREATE OR REPLACE TABLE `{d}.p` (a INT64) AS SELECT CAST(ERROR('x') AS INT64)", "x")
        self.refused("CREATE OR REPLACE TABLE `{d}.p` AS SELECT CAST(ERROR('x') AS INT64) AS a", "x")
        self.assertEqual(self.count("p"), 1)
        self.assertEqual(self.get("t"), before)

    def test_cancel(self):
        self.plain()
        job_id = f"j_{uuid.uuid4().hex}"
        numbers = "UNNEST(GENERATE_ARRAY(1, 10000))"
        slow = f"SELECT COUNT(*) FROM {numbers} a, {numbers} b, {numbers} c WHERE MOD(a * b * c, 7) = 3"
        self.insert(f"INSERT INTO `{{d}}.t` VALUES (4); {slow}; DELETE FROM `{{d}}.t` WHERE TRUE", job_id)
        waiting = HTTP.get(f"{API}/queries/{job_id}", params={"timeoutMs": 1000}).json()
        self.assertEqual(waiting["jobComplete"], False)
        answer = HTTP.post(f"{API}/jobs/{job_id}/cancel", params={"location": "US"}).json()
        self.assertEqual(answer["job"]["jobReference"]["jobId"], job_id)
        HTTP.get(f"{API}/queries/{job_id}", params={"timeoutMs": 20000})
        job = self.job(job_id)
        self.assertEqual(job["status"]["errorResult"]["reason"], "stopped")
        self.assertEqual([c["status"]["state"] for c in self.children(job)], ["DONE", "DONE"])
        self.assertEqual(self.count("t"), 4)

    def test_bytes_are_counted_and_limited(self):
        self.plain()
        self.assertEqual(self.finished("SELECT COUNT(*) FROM `{d}.t`")["statistics"]["totalBytesProcessed"], "0")
        job = self.finished("SELECT a FROM `{d}.t`")
        self.assertEqual(job["statistics"]["query"]["totalBytesProcessed"], "24")
        self.assertEqual(job["statistics"]["query"]["totalBytesBilled"], "10485760")
        job = self.finished("SELECT a FROM `{d}.t`", query={"maximumBytesBilled": "1000"})
        self.assertEqual(job["status"]["errorResult"]["reason"], "bytesBilledLimitExceeded")

    def test_one_request_id_is_one_job(self):
        self.plain()
        body = {"query": f"INSERT INTO `{self.t('t')}` VALUES (4)", "useLegacySql": False, "requestId": uuid.uuid4().hex}
        first, second = (HTTP.post(f"{API}/queries", json=body).json() for _ in range(2))
        self.assertEqual(first["jobReference"], second["jobReference"])
        self.assertEqual(self.count("t"), 4)

    def test_one_table_at_two_instants_is_refused(self):
        self.plain()
        sql = f"SELECT * FROM `{{d}}.t` UNION ALL SELECT * FROM `{{d}}.t` FOR SYSTEM_TIME AS OF {stamp(millis())}"
        self.refused(sql, "two points in time")

    def test_permissions_are_all_or_of_a_missing_table_none(self):
        self.plain()
        self.run_("CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        asked = ["bigquery.tables.create", "bigquery.tables.createSnapshot", "bigquery.tables.deleteSnapshot"]
        for name, held in [("t", asked), ("s", asked), ("nothing", None)]:
            url = f"{API}/datasets/{self.dataset}/tables/{name}:testIamPermissions"
            answer = HTTP.post(url, json={"permissions": asked})
            self.assertEqual((answer.status_code, answer.json().get("permissions")), (200, held), name)

    def test_row_policies_are_listed(self):
        self.plain()
        url = f"{API}/datasets/{self.dataset}/tables/t/rowAccessPolicies"
        self.assertEqual(HTTP.get(url).json(), {})
        self.run_("CREATE ROW ACCESS POLICY p ON `{d}.t` GRANT TO ('allAuthenticatedUsers') FILTER USING (a = 1)")
        [policy] = HTTP.get(url).json()["rowAccessPolicies"]
        self.assertEqual(policy["rowAccessPolicyReference"]["policyId"], "p")
        self.assertIn("a", policy["filterPredicate"])
        self.run_("INSERT INTO `{d}.t` SELECT * FROM `{d}.t`; CREATE SNAPSHOT TABLE `{d}.s` CLONE `{d}.t`")
        self.run_("CREATE OR REPLACE TABLE `{d}.t` AS SELECT * FROM `{d}.t`")
        self.assertEqual(HTTP.get(url).json(), {})
        [kept] = HTTP.get(url.replace("/t/", "/s/")).json()["rowAccessPolicies"]
        self.assertEqual(kept["filterPredicate"], policy["filterPredicate"])
        self.assertEqual(HTTP.get(url.replace("/t/", "/nothing/")).status_code, 404)


if __name__ == "__main__":
    unittest.main()
