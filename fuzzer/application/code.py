"""Application code in Python: found by ``module:name``, and what it is told of its caller."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantfuzz.application.annotations import shape_of_type
from tenantfuzz.errors import ToolError
from tenantfuzz.policies.model import Model
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import Catalog, DataType, RelationName

Code = Callable[..., Any]  # what the target's own code takes and gives is its own affair
_NATIVE = frozenset({"int2", "int4", "int8", "uuid"})


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf application code runs: what a signed-in request knows of its user.

    ``tenant`` is the organisation in force, ``tenants`` all that count, ``kind`` the kind of
    member (as under ``[principals]``), ``role`` the database role of its session. Ids are ``int``
    or ``UUID`` where their keys are integers or uuid, else ``str``; None where there is none.
    """

    kind: str
    tenant: Any
    tenants: tuple[Any, ...]
    user: Any
    role: str | None


@dataclass(frozen=True, slots=True)
class CallerTypes:
    """The types of the keys of tenants and of users; None where there is no such table."""

    tenant: DataType | None = None
    user: DataType | None = None


def caller_types(catalog: Catalog, model: Model) -> CallerTypes:
    """The types that callers' ids have. Without a table of tenants the first column that names one
    says it."""

    def of(relation: RelationName | None, column: str | None) -> DataType | None:
        found = catalog.relations.get(relation) if relation is not None else None
        of_it = found.column(column) if found is not None and column is not None else None
        return of_it.type if of_it is not None else None

    naming = (of(r, o.column) for r, o in model.ownership.items() if o.column is not None)
    tenant = of(model.tenants, model.tenant_key) or next((t for t in naming if t is not None), None)
    return CallerTypes(tenant, of(model.users, model.user_key))


def caller_of(principal: Principal, known: CallerTypes) -> Caller:
    """The caller that ``principal`` is."""
    return Caller(
        principal.kind,
        id_of(principal.tenant, known.tenant),
        tuple(id_of(t, known.tenant) for t in sorted(principal.tenants)),
        id_of(principal.user, known.user),
        principal.acting_role,
    )


def id_of(text: str | None, type_: DataType | None) -> object:
    """An id as code would have it: ``int`` or ``UUID`` where its type is such, else the text."""
    if type_ is None or type_.base not in _NATIVE:
        return text
    found = shape_of_type(type_).value(text)
    return text if found is None else found


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
