"""SQL text from names and values, for the layers that hold no connection.

Only what comes through here may enter a statement; it equals libpq's own escaping for servers
with ``standard_conforming_strings`` on (the default; manual, section 4.1.2).
"""

import re
from collections.abc import Iterable

from tenantfuzz.policies.structure import RelationName


def identifier(name: str) -> str:
    """``name`` as a quoted identifier; always quoted, so that case and keywords do not matter."""
    return '"' + name.replace('"', '""') + '"'


def readable_identifier(name: str) -> str:
    """``name`` quoted only where it must be: for statements that people read."""
    plain = _PLAIN.fullmatch(name) is not None and name not in _RESERVED
    return name if plain else identifier(name)


def qualified(relation: RelationName) -> str:
    """A schema-qualified relation, each part quoted where it must be."""
    return f"{readable_identifier(relation.schema)}.{readable_identifier(relation.name)}"


def literal(value: str | None) -> str:
    """A value as an untyped literal, or NULL. Backslashes need the E form to be taken literally
    under either setting of ``standard_conforming_strings``."""
    if value is None:
        return "NULL"
    quoted = value.replace("'", "''")
    if "\\" in quoted:
        return "E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"


def column_list(columns: Iterable[str]) -> str:
    """Columns separated by commas, each quoted where it must be."""
    return ", ".join(readable_identifier(c) for c in columns)


_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_RESERVED = frozenset(
    """all analyse analyze and any array as asc asymmetric authorization binary both case cast check
    collate collation column concurrently constraint create cross current_catalog current_date
    current_role current_schema current_time current_timestamp current_user default deferrable desc
    distinct do else end except false fetch for foreign freeze from full grant group having ilike in
    initially inner intersect into is isnull join lateral leading left like limit localtime
    localtimestamp natural not notnull null offset on only or order outer overlaps placing primary
    references returning right select session_user similar some symmetric system_user table
    tablesample then to trailing true union unique user using variadic verbose when where window
    with between bigint bit boolean char character coalesce dec decimal exists extract float
    greatest grouping inout int integer interval json json_array json_arrayagg json_exists
    json_object json_objectagg json_query json_scalar json_serialize json_table json_value least
    merge_action national nchar none normalize nullif numeric out overlay position precision real
    row setof smallint substring time timestamp treat trim values varchar xmlattributes xmlconcat
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize
    xmltable""".split()
)
