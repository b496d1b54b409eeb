-- Wiki with names as the ORM writes them. Memberships are invited, accepted, removed; pages are soft-deleted.
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'wiki_api') THEN CREATE ROLE wiki_api LOGIN; END IF;
END $$;
CREATE SCHEMA wiki;
CREATE TYPE wiki."PageState" AS ENUM ('Draft', 'Published');

CREATE TABLE wiki."Workspace" (
  id text PRIMARY KEY CHECK (length(id) BETWEEN 3 AND 30),
  name text NOT NULL
);
CREATE TABLE wiki."User" (
  id text PRIMARY KEY CHECK (length(id) BETWEEN 3 AND 30),
  email text NOT NULL UNIQUE,
  "displayName" text
);
CREATE TABLE wiki."WorkspaceMember" (
  "workspaceId" text NOT NULL REFERENCES wiki."Workspace" ON DELETE CASCADE,
  "userId" text NOT NULL REFERENCES wiki."User" ON DELETE CASCADE,
  "invitedAt" timestamptz NOT NULL DEFAULT now(),
  "acceptedAt" timestamptz,
  "removedAt" timestamptz,
  PRIMARY KEY ("workspaceId", "userId"),
  CHECK ("acceptedAt" IS NULL OR "acceptedAt" >= "invitedAt")
);
CREATE TABLE wiki."PageTemplate" (
  id text PRIMARY KEY,
  "workspaceId" text REFERENCES wiki."Workspace" ON DELETE CASCADE,
  title text NOT NULL,
  content jsonb NOT NULL DEFAULT '[]'
);
INSERT INTO wiki."PageTemplate" (id, "workspaceId", title) VALUES ('tpl-blank', NULL, 'Blank'), ('tpl-meeting', NULL, 'Meeting notes');
CREATE TABLE wiki."Page" (
  id text PRIMARY KEY,
  "workspaceId" text NOT NULL REFERENCES wiki."Workspace" ON DELETE CASCADE,
  "parentPageId" text,
  title text NOT NULL,
  state wiki."PageState" NOT NULL DEFAULT 'Draft',
  "deletedAt" timestamptz,
  UNIQUE ("workspaceId", id),
  CONSTRAINT "Page_parent_fkey" FOREIGN KEY ("workspaceId", "parentPageId") REFERENCES wiki."Page" ("workspaceId", id) ON DELETE CASCADE
);
CREATE TABLE wiki."Block" (
  id text PRIMARY KEY,
  "workspaceId" text NOT NULL,
  "pageId" text NOT NULL,
  "order" int NOT NULL DEFAULT 0,
  kind text NOT NULL CHECK (kind IN ('text', 'code', 'image')),
  content jsonb NOT NULL,
  FOREIGN KEY ("workspaceId", "pageId") REFERENCES wiki."Page" ("workspaceId", id) ON DELETE CASCADE
);
CREATE TABLE wiki."PageRevision" (
  "pageId" text NOT NULL REFERENCES wiki."Page" ON DELETE CASCADE,
  revision int NOT NULL CHECK (revision > 0),
  snapshot jsonb NOT NULL,
  PRIMARY KEY ("pageId", revision)
);
CREATE TABLE wiki."Reaction" (
  "pageId" text NOT NULL REFERENCES wiki."Page" ON DELETE CASCADE,
  "userId" text NOT NULL REFERENCES wiki."User" ON DELETE CASCADE,
  emoji text NOT NULL CHECK (length(emoji) BETWEEN 1 AND 8),
  PRIMARY KEY ("pageId", "userId", emoji)
);
CREATE TABLE wiki."Label" (
  "workspaceId" text NOT NULL REFERENCES wiki."Workspace" ON DELETE CASCADE,
  name text NOT NULL,
  PRIMARY KEY ("workspaceId", name)
);
CREATE TABLE wiki."PageLabel" (
  "workspaceId" text NOT NULL,
  "pageId" text NOT NULL,
  label text NOT NULL,
  PRIMARY KEY ("workspaceId", "pageId", label),
  FOREIGN KEY ("workspaceId", "pageId") REFERENCES wiki."Page" ("workspaceId", id) ON DELETE CASCADE,
  FOREIGN KEY ("workspaceId", label) REFERENCES wiki."Label" ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE FUNCTION wiki.me() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT nullif(current_setting('wiki.userId', true), '')
$$;
CREATE FUNCTION wiki."isMember"(ws text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = wiki AS $$
  SELECT EXISTS (SELECT 1 FROM "WorkspaceMember" m WHERE m."workspaceId" = ws AND m."userId" = wiki.me()
                 AND m."acceptedAt" IS NOT NULL AND m."removedAt" IS NULL)
$$;

ALTER TABLE wiki."Workspace" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."User" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."WorkspaceMember" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."PageTemplate" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."Page" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."Block" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."PageRevision" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."Reaction" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."Label" ENABLE ROW LEVEL SECURITY;
ALTER TABLE wiki."PageLabel" ENABLE ROW LEVEL SECURITY;

CREATE POLICY "workspaceRead" ON wiki."Workspace" FOR SELECT USING (wiki."isMember"(id));
-- everybody sees the own invitations and past memberships
CREATE POLICY "memberRead" ON wiki."WorkspaceMember" FOR SELECT USING ("userId" = wiki.me() OR wiki."isMember"("workspaceId"));
CREATE POLICY "userRead" ON wiki."User" FOR SELECT USING (
  id = wiki.me() OR EXISTS (
    SELECT 1 FROM wiki."WorkspaceMember" m WHERE m."userId" = "User".id AND wiki."isMember"(m."workspaceId")
      AND m."acceptedAt" IS NOT NULL AND m."removedAt" IS NULL));
CREATE POLICY "userSelf" ON wiki."User" FOR UPDATE USING (id = wiki.me());
CREATE POLICY "templateRead" ON wiki."PageTemplate" FOR SELECT USING ("workspaceId" IS NULL OR wiki."isMember"("workspaceId"));
CREATE POLICY "templateAdd" ON wiki."PageTemplate" FOR INSERT WITH CHECK (wiki."isMember"("workspaceId"));
CREATE POLICY "templateChange" ON wiki."PageTemplate" FOR UPDATE USING (wiki."isMember"("workspaceId"));
CREATE POLICY "templateDrop" ON wiki."PageTemplate" FOR DELETE USING (wiki."isMember"("workspaceId"));
CREATE POLICY "pageRead" ON wiki."Page" FOR SELECT USING ("deletedAt" IS NULL AND wiki."isMember"("workspaceId"));
CREATE POLICY "pageAdd" ON wiki."Page" FOR INSERT WITH CHECK (wiki."isMember"("workspaceId"));
CREATE POLICY "pageChange" ON wiki."Page" FOR UPDATE USING (wiki."isMember"("workspaceId"));
CREATE POLICY "pageDrop" ON wiki."Page" FOR DELETE USING (wiki."isMember"("workspaceId"));
CREATE POLICY "blockAll" ON wiki."Block" USING (wiki."isMember"("workspaceId")) WITH CHECK (wiki."isMember"("workspaceId"));
CREATE POLICY "revisionRead" ON wiki."PageRevision" FOR SELECT USING (EXISTS (SELECT 1 FROM wiki."Page" p WHERE p.id = "PageRevision"."pageId"));
CREATE POLICY "revisionAdd" ON wiki."PageRevision" FOR INSERT WITH CHECK (EXISTS (SELECT 1 FROM wiki."Page" p WHERE p.id = "PageRevision"."pageId"));
CREATE POLICY "reactionRead" ON wiki."Reaction" FOR SELECT USING (EXISTS (SELECT 1 FROM wiki."Page" p WHERE p.id = "Reaction"."pageId"));
CREATE POLICY "reactionAdd" ON wiki."Reaction" FOR INSERT WITH CHECK (
  "userId" = wiki.me() AND EXISTS (SELECT 1 FROM wiki."Page" p WHERE p.id = "Reaction"."pageId"));
CREATE POLICY "reactionDrop" ON wiki."Reaction" FOR DELETE USING (
  "userId" = wiki.me() AND EXISTS (SELECT 1 FROM wiki."Page" p WHERE p.id = "Reaction"."pageId"));
CREATE POLICY "labelAll" ON wiki."Label" USING (wiki."isMember"("workspaceId"));
CREATE POLICY "pageLabelAll" ON wiki."PageLabel" USING (wiki."isMember"("workspaceId"));

GRANT USAGE ON SCHEMA wiki TO wiki_api;
GRANT SELECT ON wiki."Workspace", wiki."User", wiki."WorkspaceMember" TO wiki_api;
GRANT UPDATE ("displayName") ON wiki."User" TO wiki_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON wiki."PageTemplate", wiki."Page", wiki."Block", wiki."Label", wiki."PageLabel" TO wiki_api;
GRANT SELECT, INSERT ON wiki."PageRevision" TO wiki_api;
GRANT SELECT, INSERT, DELETE ON wiki."Reaction" TO wiki_api;
