"""Who let it through: the policy, the missing row security, the role's attributes."""

from collections.abc import Sequence
from dataclasses import dataclass

from tenantfuzz.errors import ToolError
from tenantfuzz.identity import bypasses_row_security, permissive_policies
from tenantfuzz.oracles.violation import Violation
from tenantfuzz.policies.ownership_sql import key_expression, rows_by_key
from tenantfuzz.policies.predictions import Key
from tenantfuzz.policies.principals import HostileKind, Principal
from tenantfuzz.policies.quoting import identifier, qualified
from tenantfuzz.policies.structure import Policy, Relation, Role
from tenantfuzz.stage import Stage

NO_ROW_SECURITY = "row security is off"


@dataclass(frozen=True, slots=True)
class Culprits:
    """Names for the fingerprint, and sentences for the reader. ``certain``: what is named was seen
    to let it through."""

    names: tuple[str, ...]
    sentences: tuple[str, ...]
    mend: str
    certain: bool = True


def find_culprits(
    stage: Stage, principal: Principal, relation: Relation, violation: Violation
) -> Culprits:
    """Why the violation was possible. Called right after it, in the state that it left behind;
    old rows are looked up in ``violation.before``, so they must still be as they were for reads.

    Each policy's expression is evaluated on the row under the principal, with row security of that
    one table off inside a savepoint, so that the policy alone answers.
    """
    if violation.side_effect:
        return _side_effect(stage, violation)
    role = stage.catalog.roles.get(principal.acting_role or "")
    if violation.code == "TF208":
        return _truncated(role, relation)
    if not relation.row_security:
        return Culprits(
            (NO_ROW_SECURITY,),
            (f"Row security is not enabled on {relation.name}, so no policy restricts the rows.",),
            f"ALTER TABLE {qualified(relation.name)} ENABLE ROW LEVEL SECURITY, and write the "
            "policies that its commands need.",
        )
    bypass = bypasses_row_security(role, relation) if role is not None else None
    if bypass is not None:
        mend = (
            f"ALTER TABLE {qualified(relation.name)} FORCE ROW LEVEL SECURITY, or let the "
            "application connect as a role that does not own its tables."
            if "not forced" in bypass
            else "Let the application act as a role without SUPERUSER and BYPASSRLS."
        )
        return Culprits((bypass,), (f"The policies are decoration here: {bypass}.",), mend)
    policies, certain = _let_through(stage, principal, relation, violation)
    names = tuple(sorted(p.name for p in policies))
    sentences = tuple(_describe(p, violation.operation) for p in policies)
    sentences += tuple(
        f'Restrictive policy "{p.name}" did not stop it: USING ({p.using or "-"})'
        + (f" WITH CHECK ({p.check})" if p.check else "")
        + "."
        for p in relation.policies
        if not p.permissive and p.command in ("all", violation.operation)
    )
    extra = violation.culprits
    if not certain and policies and violation.operation == "select":
        return Culprits(
            (*extra, *names),
            (
                f"By its expression no policy of {relation.name} lets the row through: what a "
                "statement before it set off (a role, a grant, a setting) does.",
            ),
            "See what the triggers of the relation that was written change, and stop that.",
            certain=False,
        )
    return Culprits((*extra, *names), sentences, _mend(principal, violation, policies), certain)


def _truncated(role: Role | None, relation: Relation) -> Culprits:
    """Policies have no say in it (manual, section 5.9: row security does not apply to TRUNCATE)."""
    who = role.name if role is not None else "its role"
    table = qualified(relation.name)
    return Culprits(
        ("the TRUNCATE privilege",),
        (f"Row security does not apply to TRUNCATE: as {who} may do it, it empties {table}.",),
        f"REVOKE TRUNCATE ON {table} FROM {who}, or from the role or PUBLIC that lends it.",
    )


def _side_effect(stage: Stage, violation: Violation) -> Culprits:
    named = sorted(
        {
            f"trigger {t.name}"
            for r in stage.catalog.relations.values()
            for t in r.triggers
            if violation.operation in t.events and violation.relation.name in t.source
        }
    )
    cascades = sorted(
        f"foreign key {fk.name} ON DELETE {fk.on_delete.upper()}"
        for fk in stage.catalog.relations[violation.relation].foreign_keys
        if fk.on_delete not in ("no action", "restrict") and violation.operation == "delete"
    )
    names = tuple(named or cascades) or ("a side effect of the statement",)
    return Culprits(
        names,
        (f"Not the statement itself but {', '.join(names)} changed {violation.relation}.",),
        "Let the trigger or the cascade touch rows of the same tenant only.",
    )


def _let_through(
    stage: Stage, principal: Principal, relation: Relation, violation: Violation
) -> tuple[list[Policy], bool]:
    """The policies that may have done it, and whether that is certain or a guess: where none of
    them is true for the row, they are all named."""
    role = stage.catalog.roles.get(principal.acting_role or "")
    if role is None:
        return [], True
    commands = _commands(violation)
    found: list[Policy] = []
    certain = True
    for command, keys in commands:
        names = permissive_policies(role, relation, command)
        candidates = [p for p in relation.policies if p.name in names]
        passing = _passing(stage, principal, relation, candidates, command, keys)
        certain = certain and passing != []
        found += [p for p in (passing or candidates) if p not in found]
    return found, certain


def _commands(violation: Violation) -> list[tuple[str, frozenset[Key]]]:
    """The policy commands that must have let it through, with the rows that they judged.

    Of an update that only captures or changes foreign rows USING is to blame, of one that puts
    own rows elsewhere WITH CHECK.
    """
    old = frozenset(r.key for r in violation.before)
    new = frozenset(r.key for r in violation.after)
    match violation.operation:
        case "insert":
            return [("insert", new)] if new and not old else [("update", new or old)]
        case "update":
            return [("update", new or old)]
        case other:
            return [(other, old or new)]


def _passing(
    stage: Stage,
    principal: Principal,
    relation: Relation,
    policies: Sequence[Policy],
    command: str,
    keys: frozenset[Key],
) -> list[Policy] | None:
    """Those of ``policies`` whose expression is true for any of the rows; None where that could
    not be found out."""
    if not policies or not keys:
        return None
    wire = stage.wire
    wire.execute("SAVEPOINT culprits")
    try:
        off = f"ALTER TABLE {qualified(relation.name)} DISABLE ROW LEVEL SECURITY"
        if wire.attempt("SET CONSTRAINTS ALL IMMEDIATE").failure is not None:
            wire.execute("ROLLBACK TO culprits")
        if wire.attempt(off).failure is not None:
            return None
        alias = identifier(relation.name.name)
        key = key_expression(stage.catalog, relation.name, alias)
        where = rows_by_key(stage.catalog, relation.name, keys)
        queries = [
            f"SELECT {key} FROM {qualified(relation.name)} AS {alias} "
            f"WHERE {where} AND ({_expression(p, command)})"
            for p in policies
        ]
        try:
            outcomes = stage.read(principal, queries, prepare=False)
        except ToolError:
            return None
        if any(o.failure is not None for o in outcomes):
            return None
        return [
            p
            for p, outcome in zip(policies, outcomes, strict=True)
            if outcome.failure is None and outcome.rows
        ]
    finally:
        wire.execute("ROLLBACK TO culprits", "RELEASE culprits")


def _expression(policy: Policy, command: str) -> str:
    if command in ("insert", "update"):
        return policy.check or policy.using or "true"
    return policy.using or "true"


def _describe(policy: Policy, operation: str) -> str:
    roles = ", ".join(policy.roles) or "public"
    text = f'Policy "{policy.name}" (permissive, for {policy.command}, to {roles}) let it through:'
    if policy.using is not None and (operation != "insert" or policy.check is None):
        text += f" USING ({policy.using})"
    if policy.check is not None and operation in ("insert", "update"):
        text += f" WITH CHECK ({policy.check})"
    elif operation in ("insert", "update"):
        text += ", which stands in for the WITH CHECK that it does not have"
    return text + "."


def _mend(principal: Principal, violation: Violation, policies: Sequence[Policy]) -> str:
    names = ", ".join(f'"{p.name}"' for p in policies) or "the policies"
    if principal.tenant is not None and principal.tenant not in principal.all_tenants:
        return (
            f"The caller picks the tenant that the session names: let {names} demand as well that "
            "the user is a member of it."
        )
    if principal.kind == HostileKind.FORMER:
        return f"Let {names} count only memberships that are in force."
    match violation.code:
        case "TF205":
            return (
                "Make the foreign key composite, with the tenant column in it, or check the "
                "tenant of the row that it points at in WITH CHECK or in a trigger."
            )
        case "TF301" | "TF303":
            return (
                "Put the tenant column into the key, unless the value is meant to be the only one "
                "of all tenants."
            )
        case "TF302":
            return "Make the foreign key composite, with the tenant column in it."
        case "TF209":
            return f"Let nobody write its own membership: restrict {names} to those who may invite."
        case "TF204":
            return f"Give {names} a WITH CHECK that demands the tenant, besides its USING."
        case "TF108":
            return (
                f"Make {names} false when the setting is NULL or empty: "
                "nullif(current_setting('…', true), '') compares as NULL, which is no match."
            )
        case "TF401" | "TF402":
            return f"Add the condition on the kind of member to {names}."
        case _:
            return f"Tie {names} to the tenant of the row."
