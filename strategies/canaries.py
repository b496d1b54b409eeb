"""Canaries: tokens that no other row holds, so that a value that got out names its row."""

import base64
import hashlib
from collections.abc import Collection

from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import Values

PREFIX = "cnry"


class Canaries:
    """The canaries of one world; ``number`` tells the worlds apart, ``used`` are taken already."""

    __slots__ = ("_number", "_used")

    def __init__(self, number: int, used: Collection[str] = ()) -> None:
        self._number = number
        self._used = set(used)

    def token(self, relation: RelationName, ordinal: int) -> str:
        """The token for a row: ``cnry`` and six characters of a to z and 2 to 7."""
        for salt in range(1 << 16):
            text = f"{relation}/{ordinal}/{self._number}/{salt}"
            digest = hashlib.blake2b(text.encode(), digest_size=5).digest()
            token = PREFIX + base64.b32encode(digest).decode().lower()[:6]
            if token not in self._used:
                return token
        raise AssertionError("30 bits of tokens are used up")

    def use(self, token: str) -> None:
        """Note that a row of the world holds the token."""
        self._used.add(token)


def held(token: str, values: Values) -> str:
    """The token, if a row of these values holds it (bytea in hex), else ""."""
    hexed = token.encode().hex()
    found = any(v is not None and (token in v or hexed in v) for v in values.values())
    return token if found else ""
