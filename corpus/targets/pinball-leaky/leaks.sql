-- Seven changes that were made to pinball after its first release. Each is the kind that passes
-- review: it does what its message says, and lets something through that nobody asked for.

-- perf(issues): the list was slow; compare with the setting itself, without the membership look-up.
-- The middleware sets it anyway.
DROP POLICY issues_member ON issues;
CREATE POLICY issues_member ON issues FOR SELECT TO authenticated
USING (organization_id = nullif(current_setting('app.current_organization_id', true), ''));

-- fix(comments): authors could not always edit what they wrote. It is theirs, so check just that.
DROP POLICY comments_author ON comments;
CREATE POLICY comments_author ON comments FOR ALL TO authenticated
USING (author_id = (SELECT app.current_user_id()))
WITH CHECK (author_id = (SELECT app.current_user_id()));

-- feat(machines): a maintenance log for each machine.
CREATE TABLE maintenance_logs (
  id text PRIMARY KEY DEFAULT gen_random_uuid()::text,
  organization_id text NOT NULL REFERENCES organizations (id),
  machine_id text NOT NULL,
  note text NOT NULL,
  minutes integer NOT NULL DEFAULT 0 CHECK (minutes >= 0),
  performed_at timestamptz NOT NULL DEFAULT now(),
  FOREIGN KEY (organization_id, machine_id) REFERENCES machines (organization_id, id)
);
CREATE INDEX maintenance_logs_machine_id_idx ON maintenance_logs (machine_id);
CREATE TRIGGER maintenance_logs_audit
AFTER INSERT OR UPDATE OR DELETE ON maintenance_logs
FOR EACH ROW EXECUTE FUNCTION app.write_audit();

-- feat(support): the support desk reads the audit trail. Its staff sign in like everybody else.
CREATE POLICY audit_log_support ON audit_log FOR SELECT TO authenticated
USING (true);

-- feat(onboarding): accept an invitation without a round trip to the server.
GRANT INSERT ON memberships TO authenticated;
CREATE POLICY memberships_accept ON memberships FOR INSERT TO authenticated
WITH CHECK (user_id = (SELECT app.current_user_id()));

-- feat(issues): when a duplicate is closed, its voters move their vote to the original.
GRANT UPDATE ON upvotes TO authenticated;
CREATE POLICY upvotes_move ON upvotes FOR UPDATE TO authenticated
USING (user_id = (SELECT app.current_user_id()) AND app.can_view_issue(issue_id))
WITH CHECK (user_id = (SELECT app.current_user_id()));

-- refactor(attachments): the gallery needs every file of the organization.
DROP POLICY attachments_member ON attachments;
CREATE POLICY attachments_member ON attachments FOR SELECT TO authenticated
USING (organization_id = (SELECT app.current_organization_id()));
