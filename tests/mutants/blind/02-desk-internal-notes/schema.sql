-- Help desk. app.person_id names the user; membership is looked up by definer functions.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'desk_web') THEN
    CREATE ROLE desk_web LOGIN;
  END IF;
END $$;

CREATE TABLE accounts (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE people (id text PRIMARY KEY, email text NOT NULL, full_name text);
CREATE TABLE account_people (
  account_id text NOT NULL REFERENCES accounts ON DELETE CASCADE,
  person_id text NOT NULL REFERENCES people ON DELETE CASCADE,
  role text NOT NULL CHECK (role IN ('agent', 'requester')),
  PRIMARY KEY (account_id, person_id)
);
CREATE TABLE tickets (
  id text PRIMARY KEY,
  account_id text NOT NULL REFERENCES accounts ON DELETE CASCADE,
  opened_by text NOT NULL REFERENCES people,
  subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
  status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'pending', 'solved'))
);
CREATE TABLE ticket_messages (
  id text PRIMARY KEY,
  ticket_id text NOT NULL REFERENCES tickets ON DELETE CASCADE,
  author_id text NOT NULL REFERENCES people,
  visibility text NOT NULL DEFAULT 'public' CHECK (visibility IN ('public', 'internal')),
  body text NOT NULL
);

CREATE FUNCTION desk_person() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.person_id', true), '') $$;

CREATE FUNCTION desk_role(account text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT role FROM account_people WHERE account_id = account AND person_id = desk_person() $$;

CREATE FUNCTION desk_ticket_role(ticket text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT ap.role FROM tickets t JOIN account_people ap ON ap.account_id = t.account_id
   WHERE t.id = ticket AND ap.person_id = desk_person() $$;

CREATE FUNCTION desk_shares_account(person text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT EXISTS (SELECT FROM account_people a JOIN account_people b USING (account_id)
                  WHERE a.person_id = desk_person() AND b.person_id = person) $$;

ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
ALTER TABLE account_people ENABLE ROW LEVEL SECURITY;
ALTER TABLE tickets ENABLE ROW LEVEL SECURITY;
ALTER TABLE ticket_messages ENABLE ROW LEVEL SECURITY;

CREATE POLICY accounts_read ON accounts FOR SELECT USING (desk_role(id) IS NOT NULL);
CREATE POLICY people_read ON people FOR SELECT USING (id = desk_person() OR desk_shares_account(id));
CREATE POLICY people_self ON people FOR UPDATE USING (id = desk_person());
CREATE POLICY account_people_read ON account_people FOR SELECT USING (desk_role(account_id) IS NOT NULL);

CREATE POLICY tickets_read ON tickets FOR SELECT USING (desk_role(account_id) IS NOT NULL);
CREATE POLICY tickets_open ON tickets FOR INSERT
  WITH CHECK (desk_role(account_id) IS NOT NULL AND opened_by = desk_person());
CREATE POLICY tickets_work ON tickets FOR UPDATE USING (desk_role(account_id) = 'agent');
CREATE POLICY tickets_drop ON tickets FOR DELETE USING (desk_role(account_id) = 'agent');

CREATE POLICY messages_read ON ticket_messages FOR SELECT USING (desk_ticket_role(ticket_id) IS NOT NULL);
CREATE POLICY messages_internal ON ticket_messages AS RESTRICTIVE FOR SELECT
  USING (visibility = 'public' OR desk_ticket_role(ticket_id) = 'agent');
CREATE POLICY messages_write ON ticket_messages FOR INSERT
  WITH CHECK (author_id = desk_person()
              AND (desk_ticket_role(ticket_id) = 'agent'
                   OR (desk_ticket_role(ticket_id) = 'requester' AND visibility = 'public')));
CREATE POLICY messages_edit ON ticket_messages FOR UPDATE USING (desk_ticket_role(ticket_id) = 'agent');
CREATE POLICY messages_drop ON ticket_messages FOR DELETE USING (desk_ticket_role(ticket_id) = 'agent');

GRANT SELECT ON accounts, people, account_people TO desk_web;
GRANT UPDATE (full_name) ON people TO desk_web;
GRANT SELECT, INSERT, DELETE ON tickets, ticket_messages TO desk_web;
GRANT UPDATE (subject, status) ON tickets TO desk_web;
GRANT UPDATE (body, visibility) ON ticket_messages TO desk_web;
