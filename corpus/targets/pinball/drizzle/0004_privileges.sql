-- The platform grants everything on every new table, TRUNCATE included, to the roles of the API.
-- Take all of it back, and give what the application needs.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, anon, authenticated;
--> statement-breakpoint
REVOKE ALL ON SCHEMA app FROM PUBLIC;
--> statement-breakpoint
GRANT USAGE ON SCHEMA app TO anon, authenticated, service_role;
--> statement-breakpoint
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA app FROM PUBLIC, anon, authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION
  app.organization_is_public(text),
  app.location_is_public(text),
  app.machine_is_public(text),
  app.issue_is_public(text)
TO anon, authenticated, service_role;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION
  app.current_user_id(),
  app.current_organization_id(),
  app.current_permission(),
  app.is_admin(),
  app.is_colleague(text),
  app.can_view_issue(text)
TO authenticated, service_role;
--> statement-breakpoint
-- Visitors read.
GRANT SELECT ON
  organizations, locations, machines, models, statuses, priorities, issues, comments
TO anon;
--> statement-breakpoint
GRANT SELECT ON
  organizations, users, profiles, memberships, locations, models, machines, statuses, priorities,
  issues, comments, attachments, upvotes, notifications, audit_log
TO authenticated;
--> statement-breakpoint
GRANT INSERT, UPDATE, DELETE ON
  locations, models, machines, statuses, priorities, issues, comments, attachments
TO authenticated;
--> statement-breakpoint
GRANT INSERT, DELETE ON upvotes TO authenticated;
--> statement-breakpoint
GRANT INSERT, UPDATE ON profiles TO authenticated;
--> statement-breakpoint
GRANT DELETE ON notifications TO authenticated;
--> statement-breakpoint
-- Columns, where a row may be edited but not become another: an organization keeps its slug, a user
-- its e-mail, a membership its user. Rows of these tables are made by the service role, after an
-- invitation was accepted.
GRANT UPDATE (name, description, is_public, settings, updated_at) ON organizations TO authenticated;
--> statement-breakpoint
GRANT UPDATE (first_name, last_name, avatar_url, updated_at) ON users TO authenticated;
--> statement-breakpoint
GRANT UPDATE (role, permission, deleted_at) ON memberships TO authenticated;
--> statement-breakpoint
GRANT UPDATE (read_at) ON notifications TO authenticated;
--> statement-breakpoint
-- The trail only grows.
REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM service_role;
