"""Placeholders: ``:tenant``, ``:tenants`` and ``:user`` in SQL, ``{word.word}`` in templates."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.quoting import literal

# Strings, quoted identifiers, dollar quotes, comments and casts are passed over.
_SQL_TOKEN = re.compile(
    r"""(?P<skip>[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|"(?:[^"]|"")*\"|\$(\w*)\$.*?\$\2\$|::"""
    r"""|--[^\n]*|/\*.*?\*/)"""
    r"""|(?<![:\w]):(?P<name>tenants|tenant|user)\b""",
    re.DOTALL,
)
_TEMPLATE = re.compile(r"\{(\w+\.\w+)\}")
_QUOTED_OR_BARE = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")|\{(?P<bare>\w+\.\w+)\}')
_RAW = "\x00raw:"


@dataclass(frozen=True, slots=True)
class Binding:
    """What the SQL placeholders stand for; None is NULL."""

    tenant: str | None = None
    user: str | None = None
    tenants: Sequence[str] = ()


def bind_sql(sql: str, binding: Binding) -> str:
    """``sql`` with its placeholders replaced by untyped literals (their type comes from context).

    ``:tenants`` becomes an array literal, as for ``= ANY (:tenants)``.
    """

    def replace(match: re.Match[str]) -> str:
        name = match.group("name")
        if name is None:
            return match.group(0)
        if name == "tenants":
            quoted = ",".join(
                '"' + t.replace("\\", "\\\\").replace('"', '\\"') + '"' for t in binding.tenants
            )
            return literal("{" + quoted + "}")
        return literal(binding.tenant if name == "tenant" else binding.user)

    return _SQL_TOKEN.sub(replace, sql)


def uses_placeholder(sql: str, name: str) -> bool:
    """Whether ``sql`` reads that placeholder (``tenant``, ``tenants`` or ``user``)."""
    return any(m.group("name") == name for m in _SQL_TOKEN.finditer(sql))


def template_words(template: str) -> tuple[str, ...]:
    """The ``word.word`` placeholders of a template, in order."""
    return tuple(_TEMPLATE.findall(template))


def render_template(template: str, attributes: Mapping[str, str | None]) -> str | None:
    """A setting's value for one principal.

    Where the template is a JSON document, inserted values are escaped and a key whose value lacks
    an attribute is left out. Elsewhere a missing attribute leaves out the whole setting (None).
    """
    document = _as_json(template)
    if document is not None:
        rendered = _render_node(document, attributes)
        return None if rendered is _MISSING else json.dumps(rendered, ensure_ascii=False)
    words = template_words(template)
    if any(attributes.get(w) is None for w in words):
        return None
    return _TEMPLATE.sub(lambda m: attributes[m.group(1)] or "", template)


def is_json_template(template: str) -> bool:
    """Whether the template is a JSON object or array once its placeholders are taken as values."""
    return _as_json(template) is not None


_MISSING = object()


def _as_json(template: str) -> object | None:
    if template.lstrip()[:1] not in ("{", "[") or _TEMPLATE.fullmatch(template.strip()):
        return None
    marked = _QUOTED_OR_BARE.sub(
        lambda m: m.group("string") or json.dumps(_RAW + m.group("bare")), template
    )
    try:
        document: object = json.loads(marked)
    except ValueError:
        return None
    return document


def _render_node(node: object, attributes: Mapping[str, str | None]) -> object:
    if isinstance(node, dict):
        rendered = {
            _text(key, attributes): _render_node(value, attributes) for key, value in node.items()
        }
        return {k: v for k, v in rendered.items() if k is not None and v is not _MISSING}
    if isinstance(node, list):
        return [v for v in (_render_node(n, attributes) for n in node) if v is not _MISSING]
    if not isinstance(node, str):
        return node
    if node.startswith(_RAW):
        value = attributes.get(node.removeprefix(_RAW))
        return _MISSING if value is None else _scalar(value)
    text = _text(node, attributes)
    return _MISSING if text is None else text


def _text(template: str, attributes: Mapping[str, str | None]) -> str | None:
    if any(attributes.get(w) is None for w in template_words(template)):
        return None
    return _TEMPLATE.sub(lambda m: attributes[m.group(1)] or "", template)


def _scalar(value: str) -> object:
    try:
        scalar: object = json.loads(value, parse_constant=_refuse)
    except ValueError:
        return value
    # A number that would not come out as it went in is better a text.
    exact = not isinstance(scalar, float) or json.dumps(scalar) == value
    return scalar if exact else value


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
