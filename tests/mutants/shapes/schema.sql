-- A project tool on plain PostgreSQL. Every function sets its search_path, every policy asks for
-- the user's own organisations; people may form teams in theirs and share documents with them.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shapes_app') THEN CREATE ROLE shapes_app LOGIN; END IF;
END $$;
CREATE TABLE orgs (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE members (
  user_id int NOT NULL REFERENCES users, org_id int NOT NULL REFERENCES orgs,
  role text NOT NULL DEFAULT 'staff' CHECK (role IN ('staff', 'boss')),
  PRIMARY KEY (user_id, org_id)
);
CREATE TABLE profiles (
  user_id int PRIMARY KEY REFERENCES users, nickname text NOT NULL, org_id int
);
CREATE TABLE teams (id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, name text NOT NULL);
CREATE TABLE team_members (
  team_id int NOT NULL REFERENCES teams, user_id int NOT NULL REFERENCES users,
  PRIMARY KEY (team_id, user_id)
);
CREATE TABLE projects (
  id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, title text NOT NULL
);
CREATE TABLE documents (
  id int PRIMARY KEY, project_id int NOT NULL REFERENCES projects, body text NOT NULL,
  shared_with text
);
CREATE TABLE notes (
  id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, body text NOT NULL
);
CREATE TABLE imports (
  id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs, line text NOT NULL
);

CREATE FUNCTION me() RETURNS int LANGUAGE sql STABLE SET search_path = '' AS
$$ SELECT nullif(current_setting('app.user', true), '')::int $$;
CREATE FUNCTION is_member(org int) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT EXISTS (SELECT FROM members WHERE user_id = public.me() AND org_id = org) $$;
CREATE FUNCTION is_boss(org int) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ BEGIN
  RETURN EXISTS (SELECT FROM members WHERE user_id = public.me() AND org_id = org AND role = 'boss');
END $$;
CREATE FUNCTION my_orgs() RETURNS SETOF int
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ BEGIN RETURN QUERY SELECT m.org_id FROM members m WHERE m.user_id = public.me(); END $$;
CREATE FUNCTION org_of(project int) RETURNS int
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT org_id FROM projects WHERE id = project $$;
CREATE FUNCTION in_team(org int, called text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT EXISTS (SELECT FROM teams t JOIN team_members m ON m.team_id = t.id
                  WHERE t.name = called AND t.org_id = org AND m.user_id = public.me()) $$;

CREATE FUNCTION guard_import() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS
$$ BEGIN
  IF session_user = 'shapes_app'
     AND NOT EXISTS (SELECT FROM members WHERE user_id = public.me() AND org_id = NEW.org_id) THEN
    RAISE EXCEPTION 'not a member';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE INSERT ON imports FOR EACH ROW EXECUTE FUNCTION guard_import();

ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE members ENABLE ROW LEVEL SECURITY;
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE teams ENABLE ROW LEVEL SECURITY;
ALTER TABLE team_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY orgs_mine ON orgs FOR SELECT USING (is_member(id));
CREATE POLICY users_self ON users FOR SELECT USING (id = me());
CREATE POLICY members_self ON members FOR SELECT USING (user_id = me());
CREATE POLICY profiles_self ON profiles USING (user_id = me());
CREATE POLICY teams_org ON teams USING (org_id IN (SELECT my_orgs()));
CREATE POLICY team_members_org ON team_members
  USING (EXISTS (SELECT FROM teams t WHERE t.id = team_id));
CREATE POLICY projects_org ON projects USING (is_member(org_id));
CREATE POLICY documents_org ON documents
  USING (is_member(org_of(project_id)))
  WITH CHECK (is_member(org_of(project_id)));
CREATE POLICY documents_team ON documents FOR SELECT
  USING (shared_with IS NOT NULL AND in_team(org_of(project_id), shared_with));
CREATE POLICY notes_boss ON notes USING (is_boss(org_id));
GRANT SELECT ON orgs, users, members TO shapes_app;
GRANT SELECT, INSERT, UPDATE ON profiles TO shapes_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON teams, team_members, projects, documents, notes TO shapes_app;
GRANT INSERT ON imports TO shapes_app;
