"""Words for text columns: what an ordinary row holds, judged by the column's name."""

import re
import string
from collections.abc import Callable
from functools import lru_cache

_DIGITS = string.digits + string.ascii_lowercase

HIDDEN_TIMES = re.compile(
    r"(^|_)(deleted|archived|removed|revoked|disabled|cancelled|canceled|banned|suspended|"
    r"blocked|deactivated|trashed|destroyed|discarded|inactive|left|locked|hidden|expired|used|"
    r"redeemed|consumed|closed|rejected|invalidated|terminated|purged|withdrawn)(_|$)"
)
"""Timestamps that an ordinary, live row does not have."""

LASTING_TIMES = re.compile(r"(^|_)(expir\w*|valid_(until|to|till)|not_after)(_|$)")
"""Times up to which a row is alive."""

LIVE_FLAGS = re.compile(
    r"(^|_)(active|enabled|valid|verified|confirmed|approved|accepted|live|current)(_|$)"
)
"""Booleans that an ordinary, live row has set."""

CANARY_FIRST = (
    "description", "body", "notes", "note", "content", "comment", "message", "text", "title",
    "subject", "summary", "details", "name", "display_name", "full_name", "label",
)  # fmt: skip
"""Columns that best hold free text, best first."""

RESERVED = re.compile(
    r"(^|_)(id|ids|status|state|role|roles|type|kind|level|tier|plan|visibility|scope|scopes|"
    r"permission|permissions|currency|country|locale|language|lang|timezone|tz|mode|category|"
    r"action|event|operation|provider|source|channel|method|platform|priority|severity|email|"
    r"user|owner|tenant|org|organization|environment|env|access|table|entity|resource|claims|"
    r"raw_user_meta_data|raw_app_meta_data|aud)$"
)
"""Columns whose text means something to code: the last to hold a canary."""


_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@lru_cache(maxsize=4096)
def snake(name: str) -> str:
    """A column's name in lower case with its words apart: ``deletedAt`` as ``deleted_at``."""
    return _HUMP.sub("_", name).lower()


def shortened(label: str, number: int, limit: int | None) -> str:
    """``label number`` within ``limit`` characters, distinct for numbers while that is possible."""
    text = f"{label} {number}"
    if limit is None or len(text) <= limit:
        return text
    digits = str(number)
    if len(digits) < limit:
        return label.replace(" ", "")[: limit - len(digits)] + digits
    return compact(number, limit)


def compact(number: int, width: int) -> str:
    """``number`` in base 36, exactly ``width`` characters (its last ones)."""
    out = ""
    for _ in range(max(width, 1)):
        number, rest = divmod(number, 36)
        out = _DIGITS[rest] + out
    return out


Words = Callable[[int], str]


def _constant(text: str) -> Words:
    return lambda n: text


# The first pattern that is found in the column's name counts.
_BY_NAME: tuple[tuple[re.Pattern[str], Callable[[str], Words]], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"(^|_)e?mail(_address)?$", lambda c: lambda n: f"user{n + 1}@example.org"),
        (
            r"(^|_)(urls?|uri|link|href|website|homepage|webhook|avatar|endpoint)$",
            lambda c: lambda n: f"https://example.org/{n + 1}",
        ),
        (r"(^|_)(domain|host|hostname|fqdn)$", lambda c: lambda n: f"h{n + 1}.example.org"),
        (r"(^|_)(phone|mobile|tel|fax)", lambda c: lambda n: f"+1555{n + 1:07d}"),
        (r"(^|_)colou?r$", lambda c: lambda n: f"#{n + 1:06x}"),
        (r"(^|_)ip(_?addr(ess)?)?$", lambda c: lambda n: f"10.0.{n // 256 % 256}.{n % 256}"),
        (r"(^|_)currency(_code)?$", lambda c: _constant("USD")),
        (r"(^|_)country(_code)?$", lambda c: _constant("US")),
        (r"(^|_)(locale|lang|language)$", lambda c: _constant("en")),
        (r"(^|_)(timezone|time_zone|tz)$", lambda c: _constant("UTC")),
        (r"(^|_)(status|state)$", lambda c: _constant("active")),
        (r"(^|_)role$", lambda c: _constant("member")),
        (r"(^|_)(mime|mime_type|content_type|media_type)$", lambda c: _constant("text/plain")),
        (r"(^|_)version$", lambda c: lambda n: f"1.0.{n + 1}"),
        (r"(^|_)(path|folder|filename|file_name)$", lambda c: lambda n: f"f{n + 1}.txt"),
        (r"(^|_)year_month$|(^|_)month$|(^|_)period$", lambda c: _constant("2024-01")),
        (
            r"(^|_)(id|uuid|guid|slug|handle|username|subdomain|key|code|token|hash|secret|sku|"
            r"identifier|ref|reference|login|digest|checksum|prefix|uid|sub)$",
            lambda c: lambda n: f"{c.lower().replace('_', '-')}-{n + 1}",
        ),
    )
)


def words_for(column: str, limit: int | None) -> Words:
    """The function from numbers to ordinary texts for a column of that name, within ``limit``."""
    label = column.replace("_", " ").strip() or "text"
    lowered = snake(column)
    for pattern, words in _BY_NAME:
        if pattern.search(lowered):
            named = words(column)
            if limit is None:
                return named
            size = limit
            return lambda n: t if len(t := named(n)) <= size else shortened(label, n + 1, size)
    return lambda n: shortened(label, n + 1, limit)


def text_variants(column: str, limit: int | None) -> tuple[Words, ...]:
    """Functions to other texts, tried in turn where a check refuses the ordinary ones."""
    word = re.sub(r"[^a-z]", "", column.lower()) or "text"
    size = limit if limit is not None else 64
    fitting = min(size, 4)
    return tuple(
        (lambda n, make=make: make(n)[:size])
        for make in (
            lambda n: f"{word}-{n + 1}",
            lambda n: f"{word}_{n + 1}",
            lambda n: f"{word}{n + 1}",
            lambda n: f"{word.upper()}{n + 1}",
            lambda n: f"{word.title()} {n + 1}",
            lambda n: compact(n + 36**3 * 10, fitting),
            lambda n: letters(n, 3),
            lambda n: letters(n, 3).upper(),
            lambda n: letters(n, 2),
            lambda n: letters(n, 2).upper(),
            lambda n: str(n + 1),
            lambda n: f"{n + 1:04d}",
            lambda n: f"{n + 1:010d}",
            lambda n: f"user{n + 1}@example.org",
            lambda n: f"https://example.org/{n + 1}",
            lambda n: f"/{word}/{n + 1}",
            lambda n: f"h{n + 1}.example.org",
            lambda n: f"+1555{n + 1:07d}",
            lambda n: f"#{n + 1:06x}",
            lambda n: f"{n + 1:032x}",
            lambda n: f"{n + 1:040x}",
            lambda n: f"{n + 1:064x}",
            lambda n: f"00000000-0000-4000-8000-{n + 1:012x}",
            lambda n: f"2024-{n % 12 + 1:02d}",
            lambda n: f"1.0.{n + 1}",
            lambda n: f"v{n + 1}",
        )
    )


def letters(number: int, width: int) -> str:
    """``number`` in letters a to z, exactly ``width`` of them."""
    out = ""
    for _ in range(width):
        number, rest = divmod(number, 26)
        out = string.ascii_lowercase[rest] + out
    return out


def padded(text: str, length: int) -> str:
    """``text`` made exactly ``length`` characters long: cut, or filled up with ``x`` before."""
    return text[-length:] if len(text) >= length and length else "x" * (length - len(text)) + text
