/** The application's queries and actions, each with its organization. */
import { and, asc, count, eq, ilike, inArray, isNull, sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import {
  createOrgScopedQuery,
  createPermissionAwareQuery,
  createRLSCompatibleQuery,
} from "./scoping.ts";
import { comments, issues, memberships, models, machines, upvotes, users } from "./schema.ts";
import { permissionsOf, type Session } from "./session.ts";

const scopedIssues = createOrgScopedQuery(issues, issues.organizationId);

export async function issueList(db: Database, session: Session, { q }: { q: string | null }) {
  return scopedIssues(session.orgId).from(db, ilike(issues.title, `%${q ?? ""}%`));
}

export async function issueBoard(db: Database, session: Session) {
  const scope = createRLSCompatibleQuery(session.userId, session.orgId);
  return db.query.issues.findMany({
    columns: { id: true, title: true },
    where: scope.issues(),
    with: {
      machine: { columns: { name: true }, with: { model: { columns: { name: true } } } },
      assignee: {
        columns: { fullName: true },
        with: {
          memberships: { columns: { role: true }, where: scope.memberships },
          notifications: { columns: { body: true }, where: scope.notifications },
        },
      },
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
    .where(
      and(
        eq(issues.id, sql.placeholder("id")),
        eq(issues.organizationId, sql.placeholder("orgId")),
      ),
    )
    .prepare("issue_get");
  return prepared.execute({ id, orgId: session.orgId });
}

/** The count carries no organization of its own: the key of comments holds it to its issue. */
export async function issueDetail(db: Database, session: Session, { id }: { id: string | null }) {
  return db.query.issues.findFirst({
    columns: { id: true, title: true },
    where: and(eq(issues.id, id ?? ""), eq(issues.organizationId, session.orgId)),
    with: { comments: { columns: { body: true }, with: { author: { columns: { fullName: true } } } } },
    extras: {
      commentCount: sql<number>`(
        select count(*) from comments where comments.issue_id = "issues"."id"
      )`.as("comment_count"),
    },
  });
}

/** Who left is a member no more, though the membership is still there. */
export async function memberDirectory(db: Database, session: Session) {
  return db
    .select({ id: users.id, email: users.email, role: memberships.role })
    .from(users)
    .innerJoin(memberships, eq(memberships.userId, users.id))
    .where(and(eq(memberships.organizationId, session.orgId), isNull(memberships.deletedAt)));
}

export async function modelUse(db: Database, session: Session) {
  return db
    .select({ name: models.name, used: count(machines.id) })
    .from(models)
    .leftJoin(
      machines,
      and(eq(machines.modelId, models.id), eq(machines.organizationId, session.orgId)),
    )
    .where(sql`${models.organizationId} is null or ${models.organizationId} = ${session.orgId}`)
    .groupBy(models.id, models.name);
}

interface Reply {
  issueId: string | null;
  quotes: string | null;
}

/** Comments on several issues at once, each of which quotes another comment. */
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
    .where(
      and(
        inArray(comments.id, items.map((item) => item.quotes ?? "")),
        eq(comments.organizationId, session.orgId),
      ),
    );
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
  const own = await db
    .select({ id: issues.id })
    .from(issues)
    .where(
      and(
        inArray(issues.id, issueIds.map((id) => id ?? "")),
        eq(issues.organizationId, session.orgId),
      ),
    );
  if (own.length === 0) return [];
  return db
    .insert(upvotes)
    .values(own.map(({ id }) => ({ issueId: id, userId: session.userId })))
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
          .where(and(eq(issues.id, id ?? ""), eq(issues.organizationId, session.orgId)))
          .returning({ id: issues.id }),
      ),
    );
    return done.flat();
  });
}

/** A server action: what the form says of the organization is not believed. */
export async function renameIssue(db: Database, session: Session, form: FormData) {
  "use server";
  const title = String(form.get("title") ?? "").slice(0, 200) || "untitled";
  const done = await db
    .update(issues)
    .set({ title })
    .where(
      and(
        eq(issues.id, String(form.get("issueId") ?? "")),
        eq(issues.organizationId, session.orgId),
      ),
    )
    .returning({ id: issues.id });
  if (done.length === 0) throw Object.assign(new Error("no such issue"), { code: "NOT_FOUND" });
  return done;
}
