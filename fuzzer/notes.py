"""What a reader should know about a target before any verdict: roles that policies do not bind."""

from collections.abc import Iterator

from tenantfuzz.events import Warning
from tenantfuzz.identity import bypasses_row_security
from tenantfuzz.policies.inferring.drafting import toml_value
from tenantfuzz.policies.inferring.identity import activity
from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.preparation import Prepared


def _tells_nobody_apart(prepared: Prepared) -> bool:
    """Whether all principals are the same to the database."""
    identity = prepared.model.identity
    told = identity.settings or identity.statements or not isinstance(identity.role, str | None)
    template = isinstance(identity.role, str) and "{" in identity.role
    secured = any(
        r.row_security
        for n, r in prepared.catalog.relations.items()
        if prepared.model.owner_of(n).kind is not OwnershipKind.UNCLASSIFIED
    )
    return not (told or template or secured)


def _ended_memberships(prepared: Prepared) -> Iterator[Warning]:
    """Says where memberships may end and the model takes all of them to be in force."""
    memberships = prepared.model.memberships
    if memberships is None or memberships.active is not None:
        return
    relation = prepared.catalog.relations[memberships.relation]
    for column in relation.columns:
        seems = f"{relation.name}.{column.name} seems to say that a membership ended"
        if column.name in (memberships.user, memberships.tenant):
            continue
        if any(seems in line for line in prepared.warnings):
            continue  # asked already
        candidates = activity(column)
        if candidates:
            shown = " or ".join(f"active = {toml_value(c)}" for c in (*candidates, "true"))
            yield Warning(
                "",
                f"{column.name} seems to say that a membership ended, and all are taken to be in "
                f"force: say which are, in [identity.memberships]: {shown}",
                str(relation.name),
            )


def notes_on(prepared: Prepared) -> Iterator[Warning]:
    """Warnings about the application's role: superuser, BYPASSRLS, owner without FORCE."""
    identity = prepared.model.identity
    if identity.nobodys:
        yield Warning(
            "TF804",
            "no role is named and no relation has row security: nobody but the application is "
            "taken to reach the database, so that only its queries and code are tested; if others "
            "do, say as which [identity] role",
        )
    elif _tells_nobody_apart(prepared):
        yield Warning(
            "TF804",
            "the database tells no tenants apart: no relation has row security, and nothing tells "
            "the session who asks. What isolates them is code: test that, by [[queries]] or "
            "[[adapters]]",
        )
    yield from _ended_memberships(prepared)
    names = {r for r in (identity.role, identity.anonymous) if isinstance(r, str)}
    if not names and identity.login:
        names = {identity.login}
    for name in sorted(names):
        role = prepared.catalog.roles.get(name)
        if role is None:
            continue
        unbound: dict[str, list[str]] = {}
        for relation in prepared.catalog.relations.values():
            if prepared.model.owner_of(relation.name).kind is OwnershipKind.UNCLASSIFIED:
                continue
            why = bypasses_row_security(role, relation)
            if why is not None:
                unbound.setdefault(why, []).append(str(relation.name))
        for why, relations in unbound.items():
            shown = ", ".join(relations[:4]) + (", …" if len(relations) > 4 else "")
            yield Warning("TF804", f"the policies are decoration here: {why} ({shown})")
