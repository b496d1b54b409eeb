-- A notebook for teams: no leak that a plain read or a plain write could show. Whatever leaks here
-- is shown only by a query that somebody has to think of.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'asking_app') THEN CREATE ROLE asking_app LOGIN; END IF;
END $$;
CREATE TABLE orgs (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE folders (
  org_id int NOT NULL REFERENCES orgs, id int NOT NULL, parent_id int,
  title text NOT NULL, labels text[] NOT NULL DEFAULT '{}', extra jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (org_id, id),
  FOREIGN KEY (org_id, parent_id) REFERENCES folders
);
CREATE TABLE notes (
  org_id int NOT NULL REFERENCES orgs, id int NOT NULL, folder_id int,
  title text NOT NULL, body text, stars int NOT NULL CHECK (stars BETWEEN 0 AND 5),
  made_at timestamptz NOT NULL,
  search tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(body, ''))) STORED,
  PRIMARY KEY (org_id, id),
  FOREIGN KEY (org_id, folder_id) REFERENCES folders
);
CREATE FUNCTION my_org() RETURNS int LANGUAGE sql STABLE
  RETURN nullif(current_setting('app.org', true), '')::int;
ALTER TABLE folders ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY folders_org ON folders USING (org_id = my_org());
CREATE POLICY notes_org ON notes USING (org_id = my_org());
GRANT SELECT, INSERT, UPDATE, DELETE ON folders, notes TO asking_app;
