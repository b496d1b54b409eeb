-- Task tracker written with an ORM that keeps its class names. Members who leave are marked, not deleted.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tasks_app') THEN
    CREATE ROLE tasks_app LOGIN;
  END IF;
END $$;

CREATE TABLE "Workspaces" ("Id" uuid PRIMARY KEY, "Name" text NOT NULL);
CREATE TABLE "Users" ("Id" uuid PRIMARY KEY, "Email" text NOT NULL, "Locale" text NOT NULL DEFAULT 'en');
CREATE TABLE "Members" (
  "WorkspaceId" uuid NOT NULL REFERENCES "Workspaces" ON DELETE CASCADE,
  "UserId" uuid NOT NULL REFERENCES "Users" ON DELETE CASCADE,
  "JoinedAt" timestamptz NOT NULL DEFAULT '2024-01-01',
  "RemovedAt" timestamptz,
  PRIMARY KEY ("WorkspaceId", "UserId"),
  CHECK ("RemovedAt" IS NULL OR "RemovedAt" >= "JoinedAt")
);
CREATE TABLE "Projects" (
  "Id" uuid PRIMARY KEY,
  "WorkspaceId" uuid NOT NULL REFERENCES "Workspaces" ON DELETE CASCADE,
  "Title" text NOT NULL,
  UNIQUE ("WorkspaceId", "Id")
);
CREATE TABLE "Tasks" (
  "Id" uuid PRIMARY KEY,
  "WorkspaceId" uuid NOT NULL,
  "ProjectId" uuid NOT NULL,
  "ParentTaskId" uuid,
  "Title" text NOT NULL,
  "State" text NOT NULL DEFAULT 'open' CHECK ("State" IN ('open', 'blocked', 'done')),
  UNIQUE ("WorkspaceId", "Id"),
  CHECK ("ParentTaskId" <> "Id"),
  FOREIGN KEY ("WorkspaceId", "ProjectId") REFERENCES "Projects" ("WorkspaceId", "Id") ON DELETE CASCADE,
  FOREIGN KEY ("WorkspaceId", "ParentTaskId") REFERENCES "Tasks" ("WorkspaceId", "Id") ON DELETE CASCADE
);

CREATE FUNCTION "CurrentUserId"() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.user_id', true), '')::uuid $$;

CREATE FUNCTION "MemberOf"(workspace uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT EXISTS (SELECT FROM "Members" m
                  WHERE m."WorkspaceId" = workspace AND m."UserId" = "CurrentUserId"()
                    AND m."RemovedAt" IS NULL) $$;

ALTER TABLE "Workspaces" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Users" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Members" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Projects" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Tasks" ENABLE ROW LEVEL SECURITY;

CREATE POLICY "Workspaces_read" ON "Workspaces" FOR SELECT USING ("MemberOf"("Id"));
CREATE POLICY "Users_self" ON "Users" FOR SELECT USING ("Id" = "CurrentUserId"());
CREATE POLICY "Users_locale" ON "Users" FOR UPDATE USING ("Id" = "CurrentUserId"());
CREATE POLICY "Members_self" ON "Members" FOR SELECT
  USING ("UserId" = "CurrentUserId"() OR "MemberOf"("WorkspaceId"));
CREATE POLICY "Projects_all" ON "Projects" USING ("MemberOf"("WorkspaceId"));
CREATE POLICY "Tasks_read" ON "Tasks" FOR SELECT USING ("MemberOf"("WorkspaceId"));
CREATE POLICY "Tasks_insert" ON "Tasks" FOR INSERT WITH CHECK ("MemberOf"("WorkspaceId"));
CREATE POLICY "Tasks_update" ON "Tasks" FOR UPDATE USING ("MemberOf"("WorkspaceId"));
CREATE POLICY "Tasks_delete" ON "Tasks" FOR DELETE USING ("MemberOf"("WorkspaceId"));

GRANT SELECT ON "Workspaces", "Users", "Members" TO tasks_app;
GRANT UPDATE ("Locale") ON "Users" TO tasks_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON "Projects", "Tasks" TO tasks_app;
