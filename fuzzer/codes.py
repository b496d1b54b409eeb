"""The codes of findings: what each means, how it comes about and how it is mended."""

import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

from tenantfuzz.errors import ToolError
from tenantfuzz.findings import Severity

_NOUN = re.compile(r"(?:er|or|admin|guest|staff|agent|assistant|member)$", re.IGNORECASE)

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "TF1": "reads across tenants",
        "TF2": "writes across tenants",
        "TF3": "learning of hidden data",
        "TF4": "inside one tenant",
        "TF5": "application code",
        "TF6": "session",
        "TF7": "audit trail",
        "TF8": "too strict or broken",
        "TF9": "the tool itself",
    }
)


@dataclass(frozen=True, slots=True)
class Code:
    """One code. ``severity`` is the default, ``name`` is for lists, ``title`` has ``{relation}``
    and ``{kind}`` to fill in, ``leaky`` and ``mended`` are SQL ("" where there is none to show).
    """

    code: str
    severity: Severity
    name: str
    title: str
    meaning: str
    cause: str
    leaky: str
    mended: str
    mend: str

    @property
    def family(self) -> str:
        """What the codes of its hundred have in common."""
        return FAMILIES[self.code[:3]]

    def titled(self, *, relation: str, kind: str) -> str:
        """The title of a finding at ``relation`` by a principal of ``kind``."""
        named = named_kind(kind)
        text = self.title.replace("{kind}", named).replace("{relation}", relation)
        return text[0].upper() + text[1:] if text.startswith(named) else text


def all_codes() -> Mapping[str, Code]:
    """Every code, in order."""
    return _load()[0]


def example_prelude() -> str:
    """The SQL that makes the tables of the examples."""
    return _load()[1]


def find_code(text: str) -> Code:
    """The code that a person means by ``TF101``, ``tf101`` or ``101``, or by the id of a finding.

    Raises ToolError, with the nearest codes, where there is none.
    """
    codes = all_codes()
    match = re.match(r"(?:TF)?(\d{3})(?!\d)", text.strip(), re.IGNORECASE)
    if match and (found := codes.get(f"TF{match[1]}")):
        return found
    near = difflib.get_close_matches(text.upper(), codes, n=3, cutoff=0.6)
    raise ToolError(
        f"there is no code {text!r}",
        hint=f"did you mean {', '.join(near)}?" if near else "tenantfuzz explain lists all codes",
    )


def title(code: str, *, relation: str, kind: str) -> str:
    """The title of a finding, from the template of its code."""
    return all_codes()[code].titled(relation=relation, kind=kind)


def severity(code: str) -> Severity:
    """The default severity of ``code``."""
    return all_codes()[code].severity


def named_kind(kind: str) -> str:
    """``kind`` as a sentence names it: ``an admin``, ``an outsider``, ``a limited member``."""
    match kind:
        case "dual":
            return "a user of two tenants"
        case "former":
            return "a former member"
        case "unset" | "empty" | "residual" | "malformed":
            return {
                "unset": "a session whose identity was never set",
                "empty": "a session with an empty identity",
                "residual": "a session with what an earlier identity left",
                "malformed": "a session with a malformed identity",
            }[kind]
        case "claim":
            return "a user with a claim of its own making"
        case "anonymous":
            return "an anonymous caller"
        case _:
            # Kinds have names of the configuration's own: nouns stand alone, adjectives do not.
            noun = kind if _NOUN.search(kind) else f"{kind} member"
            return f"{'an' if kind[:1].lower() in tuple('aeiou') else 'a'} {noun}"


@functools.cache
def _load() -> tuple[Mapping[str, Code], str]:
    text = (files("tenantfuzz") / "explanations.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    prelude = data.pop("prelude")
    codes = {
        code: Code(
            code=code,
            severity=Severity(entry["severity"]),
            name=entry["name"],
            title=entry["title"],
            meaning=entry["meaning"],
            cause=entry["cause"],
            leaky=entry["leaky"].strip("\n"),
            mended=entry["mended"].strip("\n"),
            mend=entry["mend"],
        )
        for code, entry in data.items()
    }
    return MappingProxyType(codes), prelude
