/** The application's three layers of scoping. */
import { and, eq, or, sql, type SQL } from "drizzle-orm";
import type { AnyPgColumn, PgTable } from "drizzle-orm/pg-core";
import type { Database } from "./database.ts";
import { issues, memberships, notifications } from "./schema.ts";

export type Permission = "VIEW_ALL_ISSUES" | "VIEW_ASSIGNED_ISSUES";

/** Layer 1: every query of a table begins with its organization. */
export function createOrgScopedQuery(table: PgTable, orgField: AnyPgColumn) {
  return (orgId: string) => ({
    where: (condition?: SQL) => and(eq(orgField, orgId), condition)!,
    from: (db: Database, condition?: SQL) =>
      db.select().from(table).where(and(eq(orgField, orgId), condition)),
  });
}

/** Layer 2: says by hand what row security would say, of the rows asked for and of related ones. */
export function createRLSCompatibleQuery(userId: string, orgId: string) {
  return {
    issues: (condition?: SQL) => and(eq(issues.organizationId, orgId), condition)!,
    memberships: eq(memberships.organizationId, orgId),
    notifications: and(eq(notifications.organizationId, orgId), eq(notifications.userId, userId))!,
  };
}

/** Layer 3: what the membership permits; who has no permission sees nothing. */
export function createPermissionAwareQuery(orgId: string, permissions: ReadonlySet<Permission>) {
  return (userId: string): SQL => {
    if (permissions.has("VIEW_ALL_ISSUES")) {
      return eq(issues.organizationId, orgId);
    }
    if (permissions.has("VIEW_ASSIGNED_ISSUES")) {
      return and(
        eq(issues.organizationId, orgId),
        or(eq(issues.assignedToId, userId), eq(issues.createdById, userId)),
      )!;
    }
    return sql`false`;
  };
}
