"""Writes files of backup as other programs would: what Google's client reads of a table, by Python's own csv and json, fastavro
and pyarrow.

backups.py DATASET.TABLE FILE   the file's ending is its format; `.gz` compresses CSV and JSON lines.
"""

import base64
import csv
import datetime
import decimal
import gzip
import io
import json
import os
import sys

import fastavro
import pyarrow.parquet
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

AVRO = {
    "INTEGER": "long",
    "FLOAT": "double",
    "BOOLEAN": "boolean",
    "STRING": "string",
    "BYTES": "bytes",
    "DATE": {"type": "int", "logicalType": "date"},
    "TIMESTAMP": {"type": "long", "logicalType": "timestamp-micros"},
    "NUMERIC": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9},
}


def plain(value):
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case datetime.datetime():
            return value.isoformat(sep=" ")
        case datetime.date() | decimal.Decimal():
            return str(value)
        case dict():
            return {key: plain(part) for key, part in value.items()}
        case list():
            return [plain(part) for part in value]
    return value


def avro(fields, name):
    def of(field):
        one = AVRO.get(field.field_type) or avro(field.fields, f"{name}_{field.name}")
        if field.mode == "REPEATED":
            return {"type": "array", "items": one}
        return one if field.mode == "REQUIRED" else ["null", one]

    return {"type": "record", "name": name, "fields": [{"name": field.name, "type": of(field)} for field in fields]}


def main(name: str, path: str) -> int:
    endpoint = ClientOptions(api_endpoint=os.environ["BIGQUERY_EMULATOR_HOST"])
    client = bigquery.Client(os.environ["PROJECT_ID"], AnonymousCredentials(), client_options=endpoint)
    schema = client.get_table(f"{client.project}.{name}").schema
    result = client.query(f"SELECT * FROM `{name}`").result()
    if ".parquet" in path:
        pyarrow.parquet.write_table(result.to_arrow(create_bqstorage_client=False), path)
        return 0
    rows = [dict(row.items()) for row in result]
    if ".avro" in path:
        with open(path, "wb") as file:
            fastavro.writer(file, fastavro.parse_schema(avro(schema, "row")), rows)
        return 0
    text = io.StringIO()
    if ".csv" in path:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([field.name for field in schema])
        writer.writerows([plain(value) for value in row.values()] for row in rows)
    else:
        for row in rows:
            print(json.dumps(plain(row)), file=text)
    with (gzip.open if path.endswith(".gz") else open)(path, "wb") as file:
        file.write(text.getvalue().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
