"""Writes on one relation by one principal, in every shape that the threat level has."""

from collections.abc import Iterator

from tenantfuzz.policies.configuration import Attacker
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import column_list
from tenantfuzz.policies.structure import Operation, Relation
from tenantfuzz.strategies.actions import Action, Grants
from tenantfuzz.strategies.authors import Author
from tenantfuzz.strategies.inserts import Inserts
from tenantfuzz.strategies.joined import JoinedWrites
from tenantfuzz.strategies.reads import key_columns, key_condition
from tenantfuzz.strategies.scene import Scene
from tenantfuzz.strategies.shadows import Shadows
from tenantfuzz.strategies.updates import Updates


class Deletes(Author):
    """Makes the deletes of one principal on one relation."""

    def deletes(self) -> Iterator[Action]:
        """Deletes without WHERE, of each victim by its key, and with RETURNING."""
        victims = self._victims(Operation.DELETE)
        if self._grants.truncate and victims:
            for tail in ("", " CASCADE"):
                sql = f"TRUNCATE {self._table}{tail}"
                yield self._action(Operation.DELETE, sql, "truncate", victims)
        if not self._grants.delete:
            return
        yield self._action(
            Operation.DELETE, f"DELETE FROM {self._table}", "delete without where", victims
        )
        for victim in victims:
            where = key_condition(self._relation, [victim])
            if where is not None:
                sql = f"DELETE FROM {self._table} WHERE {where}"
                yield self._action(Operation.DELETE, sql, "delete by key", [victim])
        keys = column_list(key_columns(self._relation, self._grants))
        where = key_condition(self._relation, victims[:1])
        if where and keys:
            sql = f"DELETE FROM {self._table} WHERE {where} RETURNING {keys}"
            yield self._action(Operation.DELETE, sql, "delete returning", victims[:1])
        own = self._own(Operation.DELETE)
        for key in list(dict.fromkeys((*own[-1:], *own[:1]))):
            where = key_condition(self._relation, [key])
            if where is not None:
                sql = f"DELETE FROM {self._table} WHERE {where}"
                yield self._action(Operation.DELETE, sql, "delete by key")


def writes(
    scene: Scene,
    principal: Principal,
    relation: Relation,
    grants: Grants,
    *,
    attacker: Attacker = Attacker.API,
    thorough: bool = False,
) -> Iterator[Action]:
    """Every write that the role has any right to try: inserts, updates, deletes.

    ``thorough`` adds their further shapes, from the threat level dml, and temporary tables in the
    way of functions, from sql.
    """
    if grants.insert:
        yield from Inserts(scene, principal, relation, grants).inserts()
    if grants.update:
        yield from Updates(scene, principal, relation, grants).updates()
    yield from Deletes(scene, principal, relation, grants).deletes()
    if thorough and attacker.has(Attacker.DML):
        yield from JoinedWrites(scene, principal, relation, grants).joined()
    if thorough and attacker.has(Attacker.SQL):
        yield from Shadows(scene, principal, relation, grants).shadows()
