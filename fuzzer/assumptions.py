"""Assumptions: what is inferred of a target where its file is silent, and said to whoever reads."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tenantfuzz.errors import ToolError
from tenantfuzz.policies.configuration import ConfigurationError, parse_configuration
from tenantfuzz.policies.inferring.drafting import merged, toml_value
from tenantfuzz.policies.inferring.guesses import Confidence, Guess, Inference, Question
from tenantfuzz.policies.inferring.inference import infer
from tenantfuzz.policies.resolution import PresetFacts, is_up_to_code
from tenantfuzz.policies.structure import Catalog, RelationName
from tenantfuzz.target import Target

_FEW = 6
_SESSIONS = (("identity", "role"), ("identity", "settings"))


@dataclass(frozen=True, slots=True)
class Assumed:
    """A target with what was inferred for it: ``doubts`` are relations to leave unclassified, with
    the reason; ``lines`` say what was assumed."""

    target: Target
    doubts: Mapping[RelationName, str]
    lines: tuple[str, ...]


def is_silent(target: Target) -> bool:
    """Whether the target's file says nothing of who the tenants are."""
    return target.configuration.tenancy.tenants is None


def infer_target(
    target: Target,
    catalog: Catalog,
    facts: PresetFacts | None,
    platform: frozenset[RelationName],
) -> Inference:
    """All that the catalog shows where the target's file is silent, sure or not."""
    return infer(catalog, given=target.data, preset=facts, platform=platform)


def assume(
    target: Target,
    catalog: Catalog,
    facts: PresetFacts | None,
    platform: frozenset[RelationName],
) -> Assumed:
    """The target with what is sure.

    Raises ToolError, with the questions and what may be the answers, where something that nothing
    can be judged without is not sure.
    """
    inference = infer_target(target, catalog, facts, platform)
    open_questions = [*(q for q in inference.questions if q.essential), *_unsure(inference)]
    if is_up_to_code(target.configuration, catalog) and not _others_reach(catalog):
        open_questions = [q for q in open_questions if q.path[:2] not in _SESSIONS]
    if open_questions:
        raise ToolError(
            "\n".join(
                [
                    "the schema alone does not say:",
                    *map(_asked, open_questions),
                    *(f"  note: {remark}" for remark in inference.remarks),
                ]
            ),
            hint=_init(target),
        )
    sure = [g for g in inference.guesses if g.confidence is Confidence.SURE]
    data = merged(target.data, sure)
    try:
        configuration = parse_configuration(data, source=target.configuration.source)
    except ConfigurationError as error:
        raise ToolError(str(error), hint=_init(target)) from error
    return Assumed(
        replace(target, configuration=configuration, data=data),
        _with_partitions(inference.doubts, catalog),
        (*_lines(sure), *(f"not known: {q.text}" for q in inference.questions if _told(q))),
    )


def _others_reach(catalog: Catalog) -> bool:
    """Whether roles besides owners and superusers may do anything to any relation."""
    owners = {r.owner for r in catalog.relations.values()}
    return any(
        role not in owners and not catalog.roles[role].superuser
        for (role, _), grant in catalog.grants.items()
        if grant.privileges or any(grant.columns.values())
    )


def _unsure(inference: Inference) -> list[Question]:
    """Guesses about everything at once that are only likely, as questions."""
    return [
        Question(g.path, f"{'.'.join(g.path)}: likely, since {g.reason}", (g.value,), True)
        for g in inference.guesses
        if g.confidence is not Confidence.SURE and g.path[:2] != ("tenancy", "tables")
    ]


def _told(question: Question) -> bool:
    """Whether a question is worth a line: those about single relations stand with their cells."""
    alone = question.path[:2] == ("tenancy", "tables") or question.path[0] == "access"
    return not question.essential and not alone


def _asked(question: Question) -> str:
    if not question.candidates:
        return f"  {question.text}"
    return f"  {question.text} (perhaps {' or '.join(map(toml_value, question.candidates[:4]))})"


def _init(target: Target) -> str:
    place = f" {target.root}" if target.file is None else f" --force {target.root}"
    return f"tenantfuzz init{place} writes a file that asks; answer there, then run again"


def _lines(guesses: list[Guess]) -> list[str]:
    lines = []
    for section in ("tenancy", "identity", "principals"):
        parts = [
            f"{g.path[-1]} = {toml_value(g.value)}"
            for g in guesses
            if g.path[0] == section and g.path[:2] != ("tenancy", "tables")
        ]
        if parts:
            lines.append(f"assumed [{section}]: {'; '.join(parts)}")
    tables = [g for g in guesses if g.path[:2] == ("tenancy", "tables")]
    if tables:
        shown = "; ".join(f"{g.path[-1]} = {toml_value(g.value)}" for g in tables[:_FEW])
        more = f"; and {len(tables) - _FEW} more" if len(tables) > _FEW else ""
        lines.append(f"assumed [tenancy.tables]: {shown}{more}")
    return lines


def _with_partitions(
    doubts: Mapping[RelationName, str], catalog: Catalog
) -> dict[RelationName, str]:
    spread = dict(doubts)
    for name, relation in catalog.relations.items():
        parent = relation.parent
        while parent is not None and parent in catalog.relations:
            if parent in doubts:
                spread.setdefault(name, doubts[parent])
            parent = catalog.relations[parent].parent
    return spread
