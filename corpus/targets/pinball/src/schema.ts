/**
 * Issue tracker for pinball operators: every organization keeps its machines and their issues.
 *
 * Structure only. Helpers, policies, guards and audit triggers are the hand-written migrations in
 * `drizzle/`; row security itself is switched on here.
 */
import { sql } from "drizzle-orm";
import {
  boolean,
  check,
  customType,
  foreignKey,
  index,
  integer,
  jsonb,
  pgEnum,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uniqueIndex,
  vector,
} from "drizzle-orm/pg-core";

const tsvector = customType<{ data: string }>({ dataType: () => "tsvector" });
const bytea = customType<{ data: Uint8Array }>({ dataType: () => "bytea" });

/** Random ids made by the database: nothing can be read from one, and none can be guessed. */
const id = () => text("id").default(sql`gen_random_uuid()::text`);
const instant = (name: string) => timestamp(name, { withTimezone: true });
const createdAt = () => instant("created_at").notNull().defaultNow();
const updatedAt = () => instant("updated_at").notNull().defaultNow();
const deletedAt = () => instant("deleted_at");
const organizationId = () => text("organization_id").notNull();

/** How much of an organization's issues a membership shows. */
export const issuePermission = pgEnum("issue_permission", ["view_all", "view_assigned", "none"]);

export const organizations = pgTable(
  "organizations",
  {
    id: id().primaryKey(),
    name: text("name").notNull(),
    slug: text("slug").notNull(),
    description: text("description"),
    /** The root of visibility: what no location, machine or issue overrides. */
    isPublic: boolean("is_public").notNull().default(false),
    settings: jsonb("settings").notNull().default({}),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
    deletedAt: deletedAt(),
  },
  (t) => [
    uniqueIndex("organizations_slug_key").on(t.slug),
    index("organizations_is_public_idx").on(t.isPublic),
    check("organizations_slug_length", sql`char_length(${t.slug}) BETWEEN 2 AND 63`),
  ],
).enableRLS();

/** `id` is the uuid that the identity provider knows, as text: nothing else ties it to auth.users. */
export const users = pgTable(
  "users",
  {
    id: id().primaryKey(),
    email: text("email").notNull(),
    firstName: text("first_name"),
    lastName: text("last_name"),
    fullName: text("full_name").generatedAlwaysAs(
      sql`btrim(coalesce(first_name, '') || ' ' || coalesce(last_name, ''))`,
    ),
    avatarUrl: text("avatar_url"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    uniqueIndex("users_email_key").on(sql`lower(${t.email})`),
    index("users_full_name_idx").on(t.fullName),
    check("users_id_length", sql`char_length(${t.id}) = 36`),
  ],
).enableRLS();

/** What a user keeps for itself; no organization reads it. */
export const profiles = pgTable(
  "profiles",
  {
    id: text("id")
      .primaryKey()
      .references(() => users.id, { onDelete: "cascade" }),
    bio: text("bio"),
    phone: text("phone"),
    preferences: jsonb("preferences").notNull().default({}),
    locale: text("locale").generatedAlwaysAs(sql`preferences ->> 'locale'`),
    updatedAt: updatedAt(),
  },
  (t) => [index("profiles_locale_idx").on(t.locale)],
).enableRLS();

export const memberships = pgTable(
  "memberships",
  {
    id: id().primaryKey(),
    organizationId: organizationId().references(() => organizations.id),
    userId: text("user_id")
      .notNull()
      .references(() => users.id),
    role: text("role").notNull().default("member"),
    permission: issuePermission("permission").notNull().default("view_all"),
    createdAt: createdAt(),
    deletedAt: deletedAt(),
  },
  (t) => [
    unique("memberships_organization_user_key").on(t.organizationId, t.userId),
    index("memberships_user_id_idx").on(t.userId),
    check("memberships_role_known", sql`${t.role} IN ('admin', 'member')`),
    check("memberships_admin_sees_all", sql`${t.role} <> 'admin' OR ${t.permission} = 'view_all'`),
  ],
).enableRLS();

export const locations = pgTable(
  "locations",
  {
    id: id().primaryKey(),
    organizationId: organizationId().references(() => organizations.id),
    name: text("name").notNull(),
    street: text("street"),
    city: text("city"),
    /** NULL: as the organization. */
    isPublic: boolean("is_public"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
    deletedAt: deletedAt(),
  },
  (t) => [
    unique("locations_organization_id_key").on(t.organizationId, t.id),
    uniqueIndex("locations_name_key")
      .on(t.organizationId, t.name)
      .where(sql`${t.deletedAt} IS NULL`),
    index("locations_city_idx").on(t.city),
  ],
).enableRLS();

/** The catalogue of games. `organization_id` NULL: shared by all; else an organization's own. */
export const models = pgTable(
  "models",
  {
    id: id().primaryKey(),
    organizationId: text("organization_id").references(() => organizations.id),
    name: text("name").notNull(),
    manufacturer: text("manufacturer"),
    year: integer("year"),
    metadata: jsonb("metadata").notNull().default({}),
    opdbId: text("opdb_id").generatedAlwaysAs(sql`metadata ->> 'opdb_id'`),
    createdAt: createdAt(),
  },
  (t) => [
    uniqueIndex("models_own_name_key").on(t.organizationId, t.name),
    uniqueIndex("models_shared_name_key")
      .on(t.name)
      .where(sql`${t.organizationId} IS NULL`),
    index("models_opdb_id_idx").on(t.opdbId),
    index("models_metadata_idx").using("gin", t.metadata),
    check("models_year_range", sql`${t.year} BETWEEN 1930 AND 2100`),
  ],
).enableRLS();

export const machines = pgTable(
  "machines",
  {
    id: id().primaryKey(),
    organizationId: organizationId().references(() => organizations.id),
    locationId: text("location_id").notNull(),
    /** A row of `models` that is shared or of the same organization: a trigger sees to it. */
    modelId: text("model_id").notNull(),
    name: text("name").notNull(),
    serialNumber: text("serial_number"),
    tags: text("tags").array().notNull().default([]),
    /** NULL: as the location. */
    isPublic: boolean("is_public"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
    deletedAt: deletedAt(),
  },
  (t) => [
    unique("machines_organization_id_key").on(t.organizationId, t.id),
    foreignKey({
      name: "machines_location_fk",
      columns: [t.organizationId, t.locationId],
      foreignColumns: [locations.organizationId, locations.id],
    }),
    uniqueIndex("machines_serial_key").on(t.organizationId, t.serialNumber),
    index("machines_location_id_idx").on(t.locationId),
    index("machines_model_id_idx").on(t.modelId),
  ],
).enableRLS();

export const statuses = pgTable(
  "statuses",
  {
    id: id().primaryKey(),
    organizationId: organizationId().references(() => organizations.id),
    name: text("name").notNull(),
    category: text("category").notNull().default("open"),
    isDefault: boolean("is_default").notNull().default(false),
    position: integer("position").notNull().default(0),
  },
  (t) => [
    unique("statuses_organization_id_key").on(t.organizationId, t.id),
    uniqueIndex("statuses_name_key").on(t.organizationId, t.name),
    uniqueIndex("statuses_default_key")
      .on(t.organizationId)
      .where(sql`${t.isDefault}`),
    check("statuses_category_known", sql`${t.category} IN ('open', 'in_progress', 'resolved')`),
  ],
).enableRLS();

export const priorities = pgTable(
  "priorities",
  {
    organizationId: organizationId().references(() => organizations.id),
    id: id().notNull(),
    name: text("name").notNull(),
    rank: integer("rank").notNull().default(0),
  },
  (t) => [
    primaryKey({ name: "priorities_pkey", columns: [t.organizationId, t.id] }),
    uniqueIndex("priorities_name_key").on(t.organizationId, t.name),
    check("priorities_rank_range", sql`${t.rank} >= 0 AND ${t.rank} <= 100`),
  ],
).enableRLS();

export const issues = pgTable(
  "issues",
  {
    id: id().primaryKey(),
    organizationId: organizationId().references(() => organizations.id),
    machineId: text("machine_id").notNull(),
    statusId: text("status_id").notNull(),
    priorityId: text("priority_id"),
    createdById: text("created_by_id"),
    assignedToId: text("assigned_to_id"),
    duplicateOfId: text("duplicate_of_id"),
    title: text("title").notNull(),
    description: text("description"),
    severity: text("severity").notNull().default("minor"),
    /** NULL: as the machine. */
    isPublic: boolean("is_public"),
    search: tsvector("search").generatedAlwaysAs(
      sql`setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', coalesce(description, '')), 'B')`,
    ),
    embedding: vector("embedding", { dimensions: 8 }),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
    resolvedAt: instant("resolved_at"),
    deletedAt: deletedAt(),
  },
  (t) => [
    unique("issues_organization_id_key").on(t.organizationId, t.id),
    foreignKey({
      name: "issues_machine_fk",
      columns: [t.organizationId, t.machineId],
      foreignColumns: [machines.organizationId, machines.id],
    }),
    foreignKey({
      name: "issues_status_fk",
      columns: [t.organizationId, t.statusId],
      foreignColumns: [statuses.organizationId, statuses.id],
    }),
    foreignKey({
      name: "issues_priority_fk",
      columns: [t.organizationId, t.priorityId],
      foreignColumns: [priorities.organizationId, priorities.id],
    }),
    foreignKey({
      name: "issues_created_by_fk",
      columns: [t.organizationId, t.createdById],
      foreignColumns: [memberships.organizationId, memberships.userId],
    }),
    foreignKey({
      name: "issues_assigned_to_fk",
      columns: [t.organizationId, t.assignedToId],
      foreignColumns: [memberships.organizationId, memberships.userId],
    }),
    foreignKey({
      name: "issues_duplicate_of_fk",
      columns: [t.organizationId, t.duplicateOfId],
      foreignColumns: [t.organizationId, t.id],
    }),
    index("issues_machine_id_idx").on(t.machineId),
    index("issues_status_id_idx").on(t.statusId),
    index("issues_created_by_id_idx").on(t.createdById),
    index("issues_assigned_to_id_idx").on(t.assignedToId),
    index("issues_created_at_idx").on(t.createdAt),
    index("issues_search_idx").using("gin", t.search),
    check("issues_title_length", sql`char_length(${t.title}) BETWEEN 1 AND 200`),
    check("issues_severity_known", sql`${t.severity} IN ('cosmetic', 'minor', 'major', 'unplayable')`),
    check("issues_resolved_after_created", sql`${t.resolvedAt} >= ${t.createdAt}`),
  ],
).enableRLS();

export const comments = pgTable(
  "comments",
  {
    id: id().primaryKey(),
    organizationId: organizationId().references(() => organizations.id),
    issueId: text("issue_id").notNull(),
    authorId: text("author_id").notNull(),
    body: text("body").notNull(),
    /** Internal comments stay inside, also where the issue is public. */
    isInternal: boolean("is_internal").notNull().default(false),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
    deletedAt: deletedAt(),
  },
  (t) => [
    foreignKey({
      name: "comments_issue_fk",
      columns: [t.organizationId, t.issueId],
      foreignColumns: [issues.organizationId, issues.id],
    }).onDelete("cascade"),
    foreignKey({
      name: "comments_author_fk",
      columns: [t.organizationId, t.authorId],
      foreignColumns: [memberships.organizationId, memberships.userId],
    }),
    index("comments_issue_id_idx").on(t.issueId),
    index("comments_author_id_idx").on(t.authorId),
  ],
).enableRLS();

/** `issue_id` is tied by name: triggers keep it in the organization and delete with the issue. */
export const attachments = pgTable(
  "attachments",
  {
    id: id().primaryKey(),
    organizationId: organizationId().references(() => organizations.id),
    issueId: text("issue_id").notNull(),
    uploaderId: text("uploader_id").notNull(),
    fileName: text("file_name").notNull(),
    contentType: text("content_type").notNull().default("application/octet-stream"),
    byteSize: integer("byte_size").notNull().default(0),
    sha256: bytea("sha256"),
    createdAt: createdAt(),
    deletedAt: deletedAt(),
  },
  (t) => [
    foreignKey({
      name: "attachments_uploader_fk",
      columns: [t.organizationId, t.uploaderId],
      foreignColumns: [memberships.organizationId, memberships.userId],
    }),
    index("attachments_issue_id_idx").on(t.issueId),
    index("attachments_uploader_id_idx").on(t.uploaderId),
    check("attachments_byte_size_range", sql`${t.byteSize} >= 0 AND ${t.byteSize} <= 52428800`),
  ],
).enableRLS();

/** No organization of its own: an upvote belongs where its issue belongs. */
export const upvotes = pgTable(
  "upvotes",
  {
    issueId: text("issue_id")
      .notNull()
      .references(() => issues.id, { onDelete: "cascade" }),
    userId: text("user_id")
      .notNull()
      .references(() => users.id),
    createdAt: createdAt(),
  },
  (t) => [
    primaryKey({ name: "upvotes_pkey", columns: [t.issueId, t.userId] }),
    index("upvotes_user_id_idx").on(t.userId),
  ],
).enableRLS();

export const notifications = pgTable(
  "notifications",
  {
    id: id().primaryKey(),
    organizationId: organizationId().references(() => organizations.id),
    userId: text("user_id").notNull(),
    issueId: text("issue_id"),
    kind: text("kind").notNull().default("assigned"),
    body: text("body").notNull(),
    createdAt: createdAt(),
    readAt: instant("read_at"),
  },
  (t) => [
    foreignKey({
      name: "notifications_user_fk",
      columns: [t.organizationId, t.userId],
      foreignColumns: [memberships.organizationId, memberships.userId],
    }),
    foreignKey({
      name: "notifications_issue_fk",
      columns: [t.organizationId, t.issueId],
      foreignColumns: [issues.organizationId, issues.id],
    }).onDelete("cascade"),
    index("notifications_unread_idx")
      .on(t.userId, t.createdAt)
      .where(sql`${t.readAt} IS NULL`),
    check("notifications_kind_known", sql`${t.kind} IN ('assigned', 'commented', 'resolved')`),
  ],
).enableRLS();

/** Written by triggers alone; without foreign keys, so that it outlives what it tells of. */
export const auditLog = pgTable(
  "audit_log",
  {
    id: id().primaryKey(),
    organizationId: text("organization_id"),
    actorId: text("actor_id"),
    relation: text("relation").notNull(),
    action: text("action").notNull(),
    oldRow: jsonb("old_row"),
    newRow: jsonb("new_row"),
    createdAt: createdAt(),
  },
  (t) => [
    index("audit_log_organization_id_idx").on(t.organizationId),
    index("audit_log_created_at_idx").on(t.createdAt),
    check("audit_log_action_known", sql`${t.action} IN ('INSERT', 'UPDATE', 'DELETE')`),
  ],
).enableRLS();
