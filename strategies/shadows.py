"""Shadows: temporary tables that stand in the way of a relation which functions look up by name."""

from collections.abc import Iterator

from tenantfuzz.policies.quoting import column_list, literal, readable_identifier
from tenantfuzz.policies.structure import Operation
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.actions import Action
from tenantfuzz.strategies.authors import Author
from tenantfuzz.strategies.scripting import script

_MOST_ROWS = 24


class Shadows(Author):
    """Makes temporary tables in front of one relation that policies or their functions read.

    The temporary schema is searched before all others unless a function sets its search_path with
    pg_temp in it (manual, CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely"; it is what
    CVE-2018-1058 is about). The rows in it say what helps the principal: that the memberships of
    others are its own, and that other tenants' rows are its tenant's.
    """

    def shadows(self) -> Iterator[Action]:
        """Creates the table with its rows; what can be read afterwards is for others to see."""
        shadowable = self._scene.plan.shadowable
        if self._relation.name not in shadowable or self._relation.is_partition:
            return
        for what, rows in (("user", self._as_my_own()), ("tenant", self._as_my_tenants())):
            if rows:
                yield Action(
                    self._relation.name,
                    Operation.INSERT,
                    self._script(rows),
                    f"temporary table that shadows it, with its own {what}",
                    hostile=False,
                    lasting=True,
                )

    def _script(self, rows: list[Values]) -> str:
        name = readable_identifier(self._relation.name.name)
        columns = [c for c in self._relation.columns if c.name in rows[0]]
        declared = ", ".join(f"{readable_identifier(c.name)} {c.type.name}" for c in columns)
        tuples = ", ".join(
            "(" + ", ".join(literal(row.get(c.name)) for c in columns) + ")" for row in rows
        )
        names = column_list([c.name for c in columns])
        return script(
            f"CREATE TEMPORARY TABLE {name} ({declared})",
            f"GRANT ALL ON pg_temp.{name} TO PUBLIC",
            f"INSERT INTO pg_temp.{name} ({names}) VALUES {tuples}",
        )

    def _as_my_own(self) -> list[Values]:
        """The rows of others, with the principal in the place of their user."""
        user = self._principal.user
        columns = self._naming_users()
        if user is None or not columns:
            return []
        mine = dict.fromkeys(columns, user)
        return [{**row, **mine} for row in self._foreign_rows()]

    def _as_my_tenants(self) -> list[Values]:
        """The rows of others, as rows of the principal's tenant."""
        home, column = self._home(), self._owner_column()
        if home is None or column is None:
            return []
        return [{**row, column: home} for row in self._foreign_rows()]

    def _foreign_rows(self) -> list[Values]:
        foreign = set(self._foreign_tenants())
        return [
            self._rows[key]
            for key, row in self._facts.items()
            if row.tenants & foreign and key in self._rows
        ][:_MOST_ROWS]

    def _naming_users(self) -> list[str]:
        model, name = self._scene.model, self._relation.name
        columns = set(self._user_columns())
        if model.memberships is not None and name == model.memberships.relation:
            columns.add(model.memberships.user)
        if name == model.users and model.user_key is not None:
            columns.add(model.user_key)
        return sorted(columns)
