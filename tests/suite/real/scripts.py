"""Tells how Google's own parser reads scripts: scripts.py FILE, a JSON array of texts.

Prints a JSON array, of each text {"statements": [[start, end, kind, [target, ...]], ...]} with the bytes of each statement, blocks before
what stands in them, its kind in the words of `statementType` and what it names as its targets, each as "Replace temp a.b": what is done
to it, and whether it is temporary; or {"error": what, "at": byte or null}.
"""

import json
import pathlib
import re
import sys

import parse_sql  # noqa: F401  (keeps the compiled parser)
from zetasql.api import Parser
from zetasql.core.exceptions import ZetaSQLError
from zetasql.types import LanguageOptions

# What BigQuery knows beside what the parser has words for.
ENTITIES = ["RESERVATION", "CAPACITY", "ASSIGNMENT", "BI_CAPACITY", "ORGANIZATION", "PROJECT", "DATA_POLICY"]

KINDS = {
    "Query": "SELECT", "Insert": "INSERT", "Update": "UPDATE", "Delete": "DELETE", "Merge": "MERGE", "Truncate": "TRUNCATE_TABLE",
    "CreateSnapshotTable": "CREATE_SNAPSHOT_TABLE", "CreateExternalTable": "CREATE_EXTERNAL_TABLE", "CreateView": "CREATE_VIEW",
    "CreateMaterializedView": "CREATE_MATERIALIZED_VIEW", "CreateFunction": "CREATE_FUNCTION",
    "CreateTableFunction": "CREATE_TABLE_FUNCTION", "CreateProcedure": "CREATE_PROCEDURE", "CreateSchema": "CREATE_SCHEMA",
    "CreateExternalSchema": "CREATE_SCHEMA", "CreateModel": "CREATE_MODEL", "CreateIndex": "CREATE_INDEX",
    "CreateRowAccessPolicy": "CREATE_ROW_ACCESS_POLICY", "CreateEntity": "DDL", "CreateConnection": "DDL", "CreatePropertyGraph": "DDL",
    "AlterView": "ALTER_VIEW", "AlterMaterializedView": "ALTER_MATERIALIZED_VIEW", "AlterSchema": "ALTER_SCHEMA",
    "AlterModel": "ALTER_MODEL", "AlterEntity": "DDL", "AlterConnection": "DDL", "AlterIndex": "DDL", "AlterRowAccessPolicy": "DDL",
    "DropFunction": "DROP_FUNCTION", "DropTableFunction": "DROP_TABLE_FUNCTION", "DropMaterializedView": "DROP_MATERIALIZED_VIEW",
    "DropSnapshotTable": "DROP_SNAPSHOT_TABLE", "DropRowAccessPolicy": "DROP_ROW_ACCESS_POLICY",
    "DropAllRowAccessPolicies": "DROP_ROW_ACCESS_POLICY", "DropSearchIndex": "DROP_INDEX", "DropVectorIndex": "DROP_INDEX",
    "DropEntity": "DDL", "Undrop": "UNDROP_SCHEMA", "Rename": "RENAME_TABLE", "ExportData": "EXPORT_DATA",
    "ExportModel": "EXPORT_MODEL", "ExportMetadata": "DDL", "AuxLoadData": "LOAD_DATA", "Grant": "GRANT", "Revoke": "REVOKE",
    "VariableDeclaration": "DECLARE", "SingleAssignment": "SET", "ParameterAssignment": "SET", "SystemVariableAssignment": "SET",
    "AssignmentFromStruct": "SET", "Assert": "ASSERT", "Raise": "RAISE", "Return": "RETURN", "Break": "JUMP", "Continue": "JUMP",
    "Call": "CALL", "ExecuteImmediate": "EXECUTE_IMMEDIATE", "Begin": "BEGIN_TRANSACTION", "Commit": "COMMIT_TRANSACTION",
    "Rollback": "ROLLBACK_TRANSACTION", "BeginEndBlock": "BEGIN", "If": "IF", "Case": "CASE", "Repeat": "REPEAT", "ForIn": "FOR",
}

DROPPED = {
    "kTable": "DROP_TABLE", "kExternalTable": "DROP_EXTERNAL_TABLE", "kView": "DROP_VIEW", "kProcedure": "DROP_PROCEDURE",
    "kMaterializedView": "DROP_MATERIALIZED_VIEW", "kSchema": "DROP_SCHEMA", "kExternalSchema": "DROP_SCHEMA", "kModel": "DROP_MODEL",
    "kConnection": "DDL", "kPropertyGraph": "DDL",
}

# In which of a statement's fields its target stands; the first that it has.
TARGETS = ["table_name", "target_path", "model_name_path", "path", "name", "name_path"]


def short(node) -> str:
    return type(node).__name__.removeprefix("AST").removesuffix("Statement")


def kind(node) -> str:
    name = short(node)
    if name == "Hinted":
        return kind(node.statement)
    if name == "While":
        return "WHILE" if node.condition else "LOOP"
    if name == "CreateTable":
        for field, what in [
            ("clone_data_source", "CLONE"), ("copy_data_source", "COPY"), ("like_table_name", "LIKE"), ("query", "AS_SELECT")
        ]:
            if getattr(node, field, None):
                return f"CREATE_TABLE_{what}"
        return "CREATE_TABLE"
    if name == "AlterTable":
        return "RENAME_TABLE" if renames(node) else "ALTER_TABLE"
    if name == "Drop":
        return DROPPED.get(node.schema_object_kind.name, node.schema_object_kind.name)
    return KINDS.get(name, name)


def renames(node) -> list:
    return [action for action in node.action_list.actions if short(action) == "RenameToClause"]


def children(node) -> list:
    found = []
    for field in getattr(node, "__dataclass_fields__", {}):
        value = getattr(node, field, None)
        found += [one for one in (value if isinstance(value, list) else [value]) if hasattr(one, "parse_location_range")]
    return found


def name_of(path) -> str | None:
    """As it is written, without its quotes."""
    if path is None:
        return None
    if hasattr(path, "names"):
        return ".".join(one.id_string for one in path.names)
    if hasattr(path, "path"):
        return f"{name_of(path.path)}.{path.identifier.id_string}"
    return None


def target(node) -> str | None:
    if short(node) == "CreateFunction" or short(node) == "CreateTableFunction":
        return name_of(node.function_declaration.name)
    fields = (getattr(node, field, None) for field in TARGETS)
    return next((name_of(path) for path in fields if path is not None), None)


NO_TARGET = {"Query", "ExportData", "ExportMetadata", "Call", "VariableDeclaration", "Raise"}

# What no snapshot holds is neither made nor written nor dropped here.
BEYOND = {
    "CreateProcedure", "CreateIndex", "CreateRowAccessPolicy", "CreateEntity", "CreateConnection", "CreatePropertyGraph", "AlterEntity",
    "AlterConnection", "AlterIndex", "AlterRowAccessPolicy", "DropRowAccessPolicy", "DropAllRowAccessPolicies", "DropSearchIndex",
    "DropVectorIndex", "DropEntity", "ExportModel", "Grant", "Revoke",
}


def deed(node) -> str:
    name = short(node)
    if name in BEYOND or name == "Drop" and node.schema_object_kind.name in ("kProcedure", "kConnection", "kPropertyGraph"):
        return "Beyond"
    if name.startswith("Create"):
        replaces = node.is_or_replace and not node.is_if_not_exists
        return ("Replace" if replaces else "Create") + temporary(node)
    if name.startswith("Drop"):
        return "Drop"
    return "Create" if name == "Undrop" else "Write" + temporary(node)


def temporary(node) -> str:
    scope = getattr(node, "scope", None)
    return " temp" if getattr(scope, "name", "") == "TEMPORARY" or getattr(node, "is_temp_table", False) else ""


def targets(node) -> list:
    name = short(node)
    if name == "Hinted":
        return targets(node.statement)
    if name == "Rename":
        return renamed(name_of(node.old_name), name_of(node.new_name))
    found = [] if name in NO_TARGET or name in BLOCKS or kind(node) == "SET" else done_to(node)
    if name == "AlterTable" and renames(node):
        found = renamed(target(node), name_of(renames(node)[0].new_name))
    return found + ([] if name == "CreateProcedure" else piped(node))


def done_to(node) -> list:
    name = target(node)
    return [f"{deed(node)} {name}"] if name else []


def renamed(old: str, new: str) -> list:
    beside = new if "." in new or "." not in old else f"{old.rsplit('.', 1)[0]}.{new}"
    return [f"Drop {old}", f"Create {beside}"]


def piped(node) -> list:
    """What the pipes of its queries do; what stands in a block is another statement's."""
    found = []
    for child in children(node):
        if short(child) == "PipeInsert":
            found += done_to(child.insert_statement)
        if short(child) == "PipeCreateTable":
            found += done_to(child.create_table_statement)
        found += [] if short(child) == "StatementList" else piped(child)
    return found


BLOCKS = {"BeginEndBlock", "If", "Case", "While", "Repeat", "ForIn"}


def start(node, text: bytes) -> int:
    """Where its first word stands: behind a label."""
    at = node.parse_location_range.start
    label = getattr(node, "label", None)
    if short(node) in BLOCKS and label:
        blank = rb"(?:\s|--[^\r\n]*|#[^\r\n]*|/\*.*?\*/)*"
        at = re.compile(blank + b":" + blank, re.S).match(text, label.parse_location_range.end).end()
    return at


def statements(script, text: bytes) -> list:
    told = []
    todo = [script.statement_list_node]
    while todo:
        node = todo.pop()
        if short(node) != "StatementList":
            told.append([start(node, text), node.parse_location_range.end, kind(node), sorted(targets(node))])
        if short(node) == "StatementList":
            todo += reversed(node.statement_list)
        elif short(node) in BLOCKS:
            lists = below(node)
            todo += sorted(lists, key=lambda one: -one.parse_location_range.start)
    return told


def below(node) -> list:
    """The lists of statements that stand in a block and in no block within it."""
    found = []
    for child in children(node):
        found += [child] if short(child) == "StatementList" else below(child)
    return found


def byte_at(error: str, text: bytes) -> int | None:
    """The byte of "[at line:column]", its column being one of UTF-8's characters, tabs reaching to the next eighth."""
    place = re.search(r"\[at (\d+):(\d+)\]", error)
    if not place:
        return None
    line, column = int(place[1]), int(place[2])
    begins = [0] + [end.end() for end in re.finditer(rb"\r\n|\r|\n", text)]
    at, now = begins[line - 1], 1
    while now < column:
        if text[at : at + 1] == b"\t":
            now += 8 - (now - 1) % 8
            at += 1
        else:
            now += 1
            at += 1
            while at < len(text) and text[at] & 0xC0 == 0x80:
                at += 1
    return at


def main(file: str) -> int:
    options = LanguageOptions.maximum_features()
    options.supported_generic_entity_types = ENTITIES
    parser = Parser(options)
    answers = []
    for text in json.loads(pathlib.Path(file).read_text()):
        data = text.encode()
        try:
            answers.append({"statements": statements(parser.parse_script(text), data)})
        except ZetaSQLError as error:
            answers.append({"error": str(error), "at": byte_at(str(error), data)})
    json.dump(answers, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
