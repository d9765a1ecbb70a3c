"""Answers queries with the reference implementation of Google's own SQL engine: evaluate_sql.py FILE, a JSON array of texts.

Prints an array as long: of each query its rows, objects of texts and nulls by column name, or {"error": why}. It knows no
tables but those that a query brings along itself, no GEOGRAPHY, and no time travel.
"""

import json
import pathlib
import sys

import parse_sql  # noqa: F401  the engine is compiled once and kept, as there
from zetasql.api import CatalogBuilder, PreparedQuery
from zetasql.core.exceptions import ZetaSQLError
from zetasql.types import AnalyzerOptions, LanguageOptions, ZetaSQLBuiltinFunctionOptions


def text(cell) -> str | None:
    for kind in ("int64_value", "string_value"):
        value = getattr(cell, kind)
        if value is not None:
            return str(value)
    return None


def main(file: str) -> int:
    language = LanguageOptions.maximum_features()
    functions = ZetaSQLBuiltinFunctionOptions(language_options=language)
    catalog = CatalogBuilder("c").with_builtin_functions(functions).build()
    options = AnalyzerOptions(language_options=language)
    answers = []
    for sql in json.loads(pathlib.Path(file).read_text()):
        try:
            builder = PreparedQuery.builder().set_sql(sql).set_analyzer_options(options).set_catalog(catalog)
            with builder.prepare() as query:
                names = [column.name for column in query.columns]
                data = query.execute().content.table_data
                rows = data.row if data else []
                answers.append([dict(zip(names, map(text, row.cell), strict=True)) for row in rows])
        except ZetaSQLError as error:
            answers.append({"error": str(error)})
    json.dump(answers, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
