"""Parses SQL texts with Google's own parser: parse_sql.py FILE, a JSON array of texts.

Prints {"parsed": how many do, "wrong": [[text, why], ...]}.
"""

import json
import pathlib
import sys

import wasmtime
from zetasql.core import wasm_client


def with_cache() -> wasmtime.Config:
    """The parser is WebAssembly, and compiling it takes half a minute: kept beside the environment, once."""
    folder = pathlib.Path(sys.prefix)
    settings = folder / "wasmtime.toml"
    if not settings.exists():
        new = settings.with_suffix(".new")
        new.write_text(f"[cache]\ndirectory = {json.dumps(str(folder / 'wasmtime'))}\n")
        new.replace(settings)
    config = wasmtime.Config()
    config.cache = str(settings)
    return config


wasm_client.Config = with_cache

from zetasql.api import Parser  # noqa: E402
from zetasql.core.exceptions import ZetaSQLError  # noqa: E402
from zetasql.types import LanguageOptions  # noqa: E402


def main(file: str) -> int:
    parser = Parser(LanguageOptions.maximum_features())
    parsed, wrong = 0, []
    for text in json.loads(pathlib.Path(file).read_text()):
        try:
            statements = parser.parse_script(text).statement_list_node.statement_list
        except ZetaSQLError as error:
            wrong.append([text, str(error)])
            continue
        if statements:
            parsed += 1
        else:
            wrong.append([text, "no statement"])
    json.dump({"parsed": parsed, "wrong": wrong}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
