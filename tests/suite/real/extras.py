"""Tables that have everything, made and read back by Google's own client.

extras.py make DATASET          makes the tables `full`, `plain` and `other` of a dataset without defaults
extras.py grant DATASET         gives somebody a role on `full`
extras.py open DATASET          drops the row access policies of `full`
extras.py forget DATASET        drops every snapshot of DATASET_copies
extras.py defaults DATASET on   gives the dataset defaults that end tables in an hour and partitions in a day; `off` takes them away
extras.py look DATASET TABLE    prints one JSON object: the table property by property, its rows, its row access policies, its grants
"""

import json
import os
import sys
import time

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

ENDPOINT = os.environ["BIGQUERY_EMULATOR_HOST"]
client = bigquery.Client(
    os.environ["PROJECT_ID"], AnonymousCredentials(), client_options=ClientOptions(api_endpoint=ENDPOINT)
)
TAG = f"projects/{client.project}/locations/us/taxonomies/1/policyTags/2"
FAR = 4102444800000  # 2100
OUTPUT_ONLY = {
    "kind", "etag", "id", "selfLink", "numBytes", "numLongTermBytes", "numRows", "creationTime", "lastModifiedTime",
    "numTimeTravelPhysicalBytes", "numTotalLogicalBytes", "numActiveLogicalBytes", "numLongTermLogicalBytes",
    "numTotalPhysicalBytes", "numActivePhysicalBytes", "numLongTermPhysicalBytes", "numPartitions", "numCurrentPhysicalBytes",
    "cloneDefinition",
}

FIELDS = [
    {"name": "day", "type": "DATE", "description": "when"},
    {"name": "id", "type": "INTEGER", "mode": "REQUIRED", "description": "whose"},
    {"name": "region", "type": "STRING", "maxLength": "9", "defaultValueExpression": "'EU'", "policyTags": {"names": [TAG]}},
    {"name": "price", "type": "NUMERIC", "roundingMode": "ROUND_HALF_EVEN"},
    {"name": "other_id", "type": "INTEGER"},
    {
        "name": "lines",
        "type": "RECORD",
        "mode": "REPEATED",
        "description": "what",
        "fields": [
            {"name": "text", "type": "STRING", "collation": "und:ci", "description": "as written"},
            {"name": "deep", "type": "RECORD", "fields": [
                {"name": "x", "type": "STRING", "description": "deepest", "policyTags": {"names": [TAG]}}]},
        ],
    },
]


def table(dataset: str, name: str, more: dict) -> None:
    reference = {"projectId": client.project, "datasetId": dataset, "tableId": name}
    path = f"/projects/{client.project}/datasets/{dataset}/tables"
    client._connection.api_request(method="POST", path=path, data={"tableReference": reference} | more)


def run(sql: str) -> None:
    client.query(sql).result()


def grant(dataset: str, member: str = "user:new@example.com") -> None:
    policy = client.get_iam_policy(f"{client.project}.{dataset}.full")
    policy.bindings = [{"role": "roles/bigquery.dataViewer", "members": [member, "group:eu@example.com"]}]
    client.set_iam_policy(f"{client.project}.{dataset}.full", policy)


def open_(dataset: str) -> None:
    run(f"DROP ALL ROW ACCESS POLICIES ON {dataset}.full")


def forget(dataset: str) -> None:
    for snapshot in client.list_tables(f"{dataset}_copies"):
        client.delete_table(snapshot.reference)


def make(dataset: str) -> None:
    client.create_dataset(dataset)
    client.create_dataset(f"{dataset}_copies")
    table(dataset, "other", {
        "schema": {"fields": [{"name": "id", "type": "INTEGER", "mode": "REQUIRED"}]},
        "tableConstraints": {"primaryKey": {"columns": ["id"]}},
    })
    other = {"projectId": client.project, "datasetId": dataset, "tableId": "other"}
    table(dataset, "full", {
        "schema": {"fields": FIELDS},
        "description": "everything",
        "friendlyName": "All of it",
        "labels": {"team": "repair", "empty": ""},
        "timePartitioning": {"type": "DAY", "field": "day", "expirationMs": str(100 * 365 * 86400000)},
        "clustering": {"fields": ["id"]},
        "requirePartitionFilter": True,
        "expirationTime": str(FAR),
        "defaultCollation": "und:ci",
        "defaultRoundingMode": "ROUND_HALF_EVEN",
        "maxStaleness": "0-0 0 0:30:0",
        "tableConstraints": {
            "primaryKey": {"columns": ["id"]},
            "foreignKeys": [{"name": "fk", "referencedTable": other,
                             "columnReferences": [{"referencingColumn": "other_id", "referencedColumn": "id"}]}],
        },
    })
    table(dataset, "plain", {
        "schema": {"fields": [{"name": "day", "type": "DATE"}, {"name": "id", "type": "INTEGER"}]},
        "timePartitioning": {"type": "DAY", "field": "day"},
    })
    run(
        f"INSERT INTO {dataset}.full (day, id, region, price, other_id, lines)"
        " SELECT DATE_ADD(DATE '2020-01-01', INTERVAL n DAY), n, IF(MOD(n, 2) = 0, 'EU', 'US'), n / 4, n,"
        " [STRUCT(CAST(n AS STRING) AS text, STRUCT('x' AS x) AS deep)] FROM UNNEST(GENERATE_ARRAY(1, 40)) AS n"
    )
    run(f"INSERT INTO {dataset}.plain SELECT DATE_ADD(DATE '2020-01-01', INTERVAL n DAY), n FROM UNNEST(GENERATE_ARRAY(1, 40)) AS n")
    run(f"INSERT INTO {dataset}.other SELECT n FROM UNNEST(GENERATE_ARRAY(1, 40)) AS n")
    run(f"CREATE ROW ACCESS POLICY everything ON {dataset}.full GRANT TO ('user:local-bigquery@localhost') FILTER USING (TRUE)")
    run(f"CREATE ROW ACCESS POLICY eu ON {dataset}.full GRANT TO ('group:eu@example.com', 'user:o@example.com') FILTER USING (region = 'EU')")
    run(f"CREATE SEARCH INDEX words ON {dataset}.full (region)")
    grant(dataset, "user:reader@example.com")


def defaults(dataset: str, switch: str) -> None:
    found = client.get_dataset(dataset)
    found.default_table_expiration_ms = 3600 * 1000 if switch == "on" else None
    found.default_partition_expiration_ms = 86400 * 1000 if switch == "on" else None
    client.update_dataset(found, ["default_table_expiration_ms", "default_partition_expiration_ms"])


def look(dataset: str, name: str) -> None:
    path = f"/projects/{client.project}/datasets/{dataset}/tables/{name}"
    get = lambda below="": client._connection.api_request(method="GET", path=path + below)
    ask = lambda what: client._connection.api_request(method="POST", path=path + what, data={})
    seen = {key: value for key, value in get().items() if key not in OUTPUT_ONLY}
    every = " WHERE day IS NULL OR day IS NOT NULL" if name != "other" else ""
    rows = client.query(f"SELECT TO_JSON_STRING(t) AS j FROM {dataset}.{name} AS t{every}").result()
    seen["rows"] = sorted(row.j for row in rows)
    seen["policies"] = {}
    for policy in get("/rowAccessPolicies").get("rowAccessPolicies", []):
        of = policy["rowAccessPolicyReference"]["policyId"]
        bindings = ask(f"/rowAccessPolicies/{of}:getIamPolicy").get("bindings", [])
        seen["policies"][of] = [policy["filterPredicate"], sorted(m for b in bindings for m in b["members"])]
    bindings = ask(":getIamPolicy").get("bindings", [])
    seen["grants"] = sorted((b["role"], sorted(b["members"])) for b in bindings)
    seen["ends_in"] = bool(seen.get("expirationTime")) and int(seen["expirationTime"]) - time.time() * 1000 < 864e5
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    {"make": make, "defaults": defaults, "look": look, "grant": grant, "open": open_, "forget": forget}[sys.argv[1]](*sys.argv[2:])
