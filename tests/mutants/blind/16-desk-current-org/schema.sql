-- A help desk. The organisation in use stands in the user's profile, and the menu changes it: no
-- foreign key ties it to the organisations, a trigger sees to it that the user is a member there.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'desk_app') THEN CREATE ROLE desk_app LOGIN; END IF;
END $$;
CREATE TABLE orgs (id uuid PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (id uuid PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE members (
  user_id uuid NOT NULL REFERENCES users, org_id uuid NOT NULL REFERENCES orgs,
  PRIMARY KEY (user_id, org_id)
);
CREATE TABLE profiles (
  user_id uuid PRIMARY KEY REFERENCES users,
  display_name text NOT NULL,
  current_org uuid
);
CREATE TABLE tickets (
  id uuid PRIMARY KEY, org_id uuid NOT NULL REFERENCES orgs, subject text NOT NULL
);
CREATE FUNCTION me() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.user', true), '')::uuid $$;
CREATE FUNCTION is_member(org uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT EXISTS (SELECT FROM members WHERE user_id = me() AND org_id = org) $$;
CREATE FUNCTION my_org() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT current_org FROM profiles WHERE user_id = me() $$;

CREATE FUNCTION check_current_org() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.current_org IS NOT NULL AND current_user = 'desk_app' AND NOT is_member(NEW.current_org) THEN
    RAISE EXCEPTION 'not a member';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER current_org BEFORE INSERT OR UPDATE ON profiles
  FOR EACH ROW EXECUTE FUNCTION check_current_org();

ALTER TABLE orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE members ENABLE ROW LEVEL SECURITY;
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE tickets ENABLE ROW LEVEL SECURITY;
CREATE POLICY orgs_mine ON orgs FOR SELECT USING (is_member(id));
CREATE POLICY users_self ON users FOR SELECT USING (id = me());
CREATE POLICY members_self ON members FOR SELECT USING (user_id = me());
CREATE POLICY profiles_self ON profiles USING (user_id = me());
CREATE POLICY tickets_current ON tickets FOR SELECT USING (org_id = my_org() AND is_member(org_id));
GRANT SELECT ON orgs, users, members, tickets TO desk_app;
GRANT SELECT, INSERT, UPDATE ON profiles TO desk_app;
