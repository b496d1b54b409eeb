"""Puts the workspace into a query: each tenant table in FROM or JOIN becomes a sub-select of the caller's rows.

The reporting builder writes plain SQL; nothing reaches the database without going through `scoped`.
"""

from __future__ import annotations

from sqlglot import exp

# table -> the column that holds the workspace
TENANT_TABLES = {
    "workspaces": "id",
    "seats": "workspace_id",
    "jobs": "workspace_id",
    "candidates": "workspace_id",
    "applications": "workspace_id",
}


def _own_rows(table: exp.Table, column: str, workspace: str | None) -> exp.Expression:
    bare = exp.Table(this=table.this.copy(), db=table.args.get("db"), catalog=table.args.get("catalog"))
    rows = exp.select("*").from_(bare).where(exp.EQ(this=exp.column(column), expression=exp.Literal.string(workspace or "")))
    return rows.subquery(table.alias_or_name)


def _recruiters(table: exp.Table, workspace: str | None) -> exp.Expression:
    rows = exp.select("*").from_(exp.to_table("recruiters")).where(
        exp.column("id").isin(
            query=exp.select("recruiter_id").from_("seats").where(
                exp.EQ(this=exp.column("workspace_id"), expression=exp.Literal.string(workspace or "")),
                exp.column("expires_at").is_(exp.null()),
            )
        )
    )
    return rows.subquery(table.alias_or_name)


def scoped(query: exp.Expression, caller) -> exp.Expression:
    """The query with every tenant table narrowed to the caller's workspace."""
    query = query.copy()
    for select in list(query.find_all(exp.Select)):
        done: set[str] = set()  # names that are narrowed already in this SELECT
        ctes = {cte.alias for cte in query.find_all(exp.CTE)}
        for table in list(select.find_all(exp.Table)):
            if table.find_ancestor(exp.Select) is not select or table.name in ctes:
                continue
            if table.alias_or_name in done:
                continue
            done.add(table.alias_or_name)
            if table.name in TENANT_TABLES:
                table.replace(_own_rows(table, TENANT_TABLES[table.name], caller.tenant))
            elif table.name == "recruiters":
                table.replace(_recruiters(table, caller.tenant))
    return query
