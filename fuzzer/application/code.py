"""Application code in Python: found by ``module:name``, and what it is told of its caller."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantfuzz.errors import ToolError
from tenantfuzz.policies.principals import Principal

Code = Callable[..., Any]  # what the target's own code takes and gives is its own affair


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf application code runs: what a signed-in request knows of its user.

    ``tenant`` is the organisation in force, ``tenants`` all that count, ``kind`` the kind of
    member (as under ``[principals]``), ``role`` the database role of its session.
    """

    kind: str
    tenant: str | None
    tenants: tuple[str, ...]
    user: str | None
    role: str | None


def caller_of(principal: Principal) -> Caller:
    """The caller that ``principal`` is."""
    return Caller(
        principal.kind,
        principal.tenant,
        tuple(sorted(principal.tenants)),
        principal.user,
        principal.acting_role,
    )


def load_code(reference: str, root: Path, where: str) -> Code:
    """The callable that ``module:name`` names; modules are looked for in ``root`` first.

    Raises ToolError, which names ``where`` it was asked for, if there is none or if its module
    fails.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise ToolError(f"{where}: expected 'module:function', not {reference!r}")
    sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ToolError(
            f"{where}: {module_name} cannot be imported: {type(error).__name__}: {error}",
            hint=f"modules are looked for in {root} and on sys.path",
        ) from error
    finally:
        sys.path.remove(str(root))
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ToolError(f"{where}: {module_name} has no function {name!r}")
    code: Code = found
    return code
