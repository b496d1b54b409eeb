"""Reads types from the catalog, with domains resolved to what is behind them."""

from typing import Any

import psycopg

from tenantfuzz.policies.structure import DataType, TypeCategory

_TYPE = """
SELECT t.oid, t.typname AS name, t.typtype::text AS kind, t.typbasetype AS base,
       t.typtypmod AS mod, t.typelem AS elem, t.typnotnull AS not_null, t.typcategory::text AS cat,
       t.typrelid AS relid, t.typsubscript::text AS subscript,
       format_type(t.oid, %s) AS shown,
       ARRAY(SELECT enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid
             ORDER BY enumsortorder) AS labels,
       ARRAY(SELECT pg_get_expr(conbin, 0) FROM pg_constraint k
             WHERE k.contypid = t.oid AND k.contype = 'c' ORDER BY conname) AS checks,
       (SELECT rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid) AS subtype,
       (SELECT rngsubtype FROM pg_range r WHERE to_jsonb(r) ->> 'rngmultitypid' = t.oid::text)
         AS multi_subtype
FROM pg_type t WHERE t.oid = %s
"""
_FIELDS = """
SELECT attname AS name, atttypid AS type, atttypmod AS mod FROM pg_attribute
WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class TypeReader:
    """Reads and remembers types by OID and modifier. Bound to one cursor with ``dict_row``."""

    def __init__(self, cursor: psycopg.Cursor[dict[str, Any]]) -> None:
        self._cursor = cursor
        self._known: dict[tuple[int, int], DataType] = {}

    def read(self, oid: int, modifier: int) -> DataType:
        """The type with that OID and ``atttypmod``."""
        key = (oid, modifier)
        if key not in self._known:
            self._known[key] = self._fetch(oid, modifier)
        return self._known[key]

    def _fetch(self, oid: int, modifier: int) -> DataType:
        version = self._cursor.connection.info.server_version
        query = _TYPE if version >= 140000 else _TYPE.replace("t.typsubscript::text", "''")
        record = self._cursor.execute(query.encode(), (modifier, oid)).fetchone()
        if record is None:
            return DataType(name=str(oid), base="unknown")
        shown = record["shown"]
        if record["kind"] == "d":
            inner = self.read(record["base"], record["mod"])
            return DataType(
                name=shown,
                base=inner.base,
                category=inner.category,
                modifier=inner.modifier,
                labels=inner.labels,
                element=inner.element,
                fields=inner.fields,
                domain_checks=(*record["checks"], *inner.domain_checks),
                domain_not_null=record["not_null"] or inner.domain_not_null,
            )
        if record["kind"] == "e":
            labels = tuple(record["labels"])
            return DataType(shown, record["name"], TypeCategory.ENUM, modifier, labels)
        if record["kind"] == "c":
            fields = self._cursor.execute(_FIELDS.encode(), (record["relid"],)).fetchall()
            parts = tuple((f["name"], self.read(f["type"], f["mod"])) for f in fields)
            return DataType(shown, record["name"], TypeCategory.COMPOSITE, modifier, fields=parts)
        if record["subtype"]:
            element = self.read(record["subtype"], -1)
            return DataType(shown, record["name"], TypeCategory.RANGE, modifier, element=element)
        if record["multi_subtype"]:
            element = self.read(record["multi_subtype"], -1)
            return DataType(
                shown, record["name"], TypeCategory.MULTIRANGE, modifier, element=element
            )
        if record["cat"] == "A" and record["elem"]:
            element = self.read(record["elem"], modifier)
            return DataType(shown, record["name"], TypeCategory.ARRAY, modifier, element=element)
        return DataType(shown, record["name"], TypeCategory.BASE, modifier)
