"""What a reader should know about a target before any verdict: roles that policies do not bind."""

from collections.abc import Iterator

from tenantfuzz.events import Warning
from tenantfuzz.identity import bypasses_row_security
from tenantfuzz.policies.model import OwnershipKind
from tenantfuzz.preparation import Prepared


def notes_on(prepared: Prepared) -> Iterator[Warning]:
    """Warnings about the application's role: superuser, BYPASSRLS, owner without FORCE."""
    identity = prepared.model.identity
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
