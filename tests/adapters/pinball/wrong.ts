/** The same, each with a mistake that people make. */
import { and, asc, count, eq, ilike, inArray, or, sql, type SQL } from "drizzle-orm";
import type { AnyPgColumn, PgTable } from "drizzle-orm/pg-core";
import type { Database } from "./database.ts";
import type { Permission } from "./scoping.ts";
import { comments, issues, machines, memberships, models, upvotes, users } from "./schema.ts";
import { permissionsOf, type Session } from "./session.ts";

/** A condition given later takes the place of the organization's: the last `where` counts. */
function createOrgScopedQuery(table: PgTable, orgField: AnyPgColumn) {
  return (orgId: string) => ({
    from: (db: Database, condition?: SQL) =>
      db.select().from(table).where(condition ?? eq(orgField, orgId)),
  });
}

/** The one who has no permission gets what all get. */
function createPermissionAwareQuery(orgId: string, permissions: ReadonlySet<Permission>) {
  return (userId: string): SQL =>
    permissions.has("VIEW_ASSIGNED_ISSUES")
      ? and(
          eq(issues.organizationId, orgId),
          or(eq(issues.assignedToId, userId), eq(issues.createdById, userId)),
        )!
      : eq(issues.organizationId, orgId);
}

export async function issueList(db: Database, session: Session, { q }: { q: string | null }) {
  const scoped = createOrgScopedQuery(issues, issues.organizationId);
  return scoped(session.orgId).from(db, ilike(issues.title, `%${q ?? ""}%`));
}

/** Only the root is scoped: an assignee who is a member elsewhere brings that along. */
export async function issueBoard(db: Database, session: Session) {
  return db.query.issues.findMany({
    columns: { id: true, title: true },
    where: eq(issues.organizationId, session.orgId),
    with: {
      machine: { columns: { name: true } },
      assignee: { columns: { fullName: true }, with: { memberships: { columns: { role: true } } } },
    },
  });
}

export async function issueVisible(db: Database, session: Session) {
  const scope = createPermissionAwareQuery(session.orgId, permissionsOf(session));
  return db
    .select({ id: issues.id, title: issues.title })
    .from(issues)
    .where(scope(session.userId))
    .orderBy(asc(issues.createdAt), asc(issues.id));
}

export async function issueGet(db: Database, session: Session, { id }: { id: string | null }) {
  const prepared = db
    .select({ id: issues.id, title: issues.title, description: issues.description })
    .from(issues)
    .where(eq(issues.id, sql.placeholder("id")))
    .prepare("issue_get");
  return prepared.execute({ id });
}

/** The count is correlated by the reporter, who may work elsewhere too. */
export async function issueDetail(db: Database, session: Session, { id }: { id: string | null }) {
  return db.query.issues.findFirst({
    columns: { id: true, title: true },
    where: and(eq(issues.id, id ?? ""), eq(issues.organizationId, session.orgId)),
    extras: {
      commentCount: sql<number>`(
        select count(*) from comments where comments.author_id = "issues"."created_by_id"
      )`.as("comment_count"),
    },
  });
}

export async function memberDirectory(db: Database, session: Session) {
  return db
    .select({ id: users.id, email: users.email, role: memberships.role })
    .from(users)
    .innerJoin(memberships, eq(memberships.userId, users.id));
}

/** The machines are scoped nowhere: a shared model counts those of everybody. */
export async function modelUse(db: Database, session: Session) {
  return db
    .select({ name: models.name, used: count(machines.id) })
    .from(models)
    .leftJoin(machines, eq(machines.modelId, models.id))
    .where(sql`${models.organizationId} is null or ${models.organizationId} = ${session.orgId}`)
    .groupBy(models.id, models.name);
}

interface Reply {
  issueId: string | null;
  quotes: string | null;
}

/** What is quoted is found by its id alone. */
export async function commentCreate(db: Database, session: Session, { items }: { items: Reply[] }) {
  const known = await db
    .select({ id: issues.id })
    .from(issues)
    .where(
      and(
        inArray(issues.id, items.map((item) => item.issueId ?? "")),
        eq(issues.organizationId, session.orgId),
      ),
    );
  const quoted = await db
    .select({ id: comments.id, body: comments.body })
    .from(comments)
    .where(inArray(comments.id, items.map((item) => item.quotes ?? "")));
  const ids = new Set(known.map((issue) => issue.id));
  const bodies = new Map(quoted.map((comment) => [comment.id, comment.body]));
  const values = items
    .filter((item) => ids.has(item.issueId ?? ""))
    .map((item) => ({
      organizationId: session.orgId,
      issueId: item.issueId!,
      authorId: session.userId,
      body: `> ${bodies.get(item.quotes ?? "") ?? "…"}`,
    }));
  if (values.length === 0) return [];
  return db.insert(comments).values(values).returning({ issueId: comments.issueId });
}

export async function upvoteMany(
  db: Database,
  session: Session,
  { issueIds }: { issueIds: (string | null)[] },
) {
  const values = issueIds
    .filter((id): id is string => id !== null)
    .map((issueId) => ({ issueId, userId: session.userId }));
  if (values.length === 0) return [];
  return db
    .insert(upvotes)
    .values(values)
    .onConflictDoNothing()
    .returning({ issueId: upvotes.issueId });
}

export async function issueRate(
  db: Database,
  session: Session,
  { ids, severity }: { ids: (string | null)[]; severity: string },
) {
  return db.transaction(async (tx) => {
    const done = await Promise.all(
      ids.map((id) =>
        tx
          .update(issues)
          .set({ severity })
          .where(eq(issues.id, id ?? ""))
          .returning({ id: issues.id }),
      ),
    );
    return done.flat();
  });
}

/** The organization comes from a hidden field of the form. */
export async function renameIssue(db: Database, session: Session, form: FormData) {
  "use server";
  const title = String(form.get("title") ?? "").slice(0, 200) || "untitled";
  return db
    .update(issues)
    .set({ title })
    .where(
      and(
        eq(issues.id, String(form.get("issueId") ?? "")),
        eq(issues.organizationId, String(form.get("orgId") ?? "")),
      ),
    )
    .returning({ id: issues.id });
}
