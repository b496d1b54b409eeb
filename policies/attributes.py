"""Attributes: what the templates of identities may ask for, checked against the catalog."""

from collections.abc import Mapping

from tenantfuzz.policies.configuration import Configuration, SqlSection
from tenantfuzz.policies.lookup import Lookup
from tenantfuzz.policies.placeholders import template_words
from tenantfuzz.policies.structure import Relation


def check_templates(
    configuration: Configuration,
    lookup: Lookup,
    *,
    tenants: Relation | None,
    users: Relation | None,
    memberships: Relation | None,
) -> None:
    """Keeps a problem for each ``{word.word}`` that no identity can ever have: another word than
    tenant, user or membership, or a column that its relation lacks."""
    relations = {"tenant": tenants, "user": users, "membership": memberships}
    identity = configuration.identity
    templates = {f"identity.settings.{n}": v for n, v in identity.settings.items()}
    templates |= {"identity.role": identity.role or "", "identity.login": identity.login or ""}
    for kind, section in configuration.principals.items():
        if section.origin is None:  # its attributes are those of another relation
            where = f"principals.{kind}"
            templates |= {f"{where}.settings.{n}": v for n, v in section.settings.items()}
            templates |= {
                f"{where}.role": section.role or "",
                f"{where}.login": section.login or "",
            }
    for where, template in templates.items():
        if not isinstance(template, SqlSection):
            for word in dict.fromkeys(template_words(template)):
                _check(word, where, relations, lookup)


def _check(word: str, where: str, relations: Mapping[str, Relation | None], lookup: Lookup) -> None:
    noun, _, name = word.partition(".")
    place = f"{where} ({{{word}}})"
    if not lookup.word("attribute", noun, place, relations):
        return
    relation = relations[noun]
    known = [c.name for c in relation.columns] if relation is not None else []
    if name != "id" and (relation is None or relation.column(name) is None):
        lookup.word(
            "attribute", word, place, [f"{noun}.{c}" for c in dict.fromkeys(["id", *known])]
        )
