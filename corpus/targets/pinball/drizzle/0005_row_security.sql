-- Two questions decide on a row: does it belong to the organization that the caller works in now,
-- and does the caller's membership show it. A sub-select around a helper makes it run once for a
-- statement instead of once for a row.

-- Organizations: members see the one they work in, everybody sees the public ones.
CREATE POLICY organizations_public ON organizations FOR SELECT TO anon, authenticated
USING (deleted_at IS NULL AND is_public);
--> statement-breakpoint
CREATE POLICY organizations_member ON organizations FOR SELECT TO authenticated
USING (id = (SELECT app.current_organization_id()));
--> statement-breakpoint
CREATE POLICY organizations_edit ON organizations FOR UPDATE TO authenticated
USING (id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()))
WITH CHECK (id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()));
--> statement-breakpoint
-- Users: oneself and one's colleagues; only oneself to edit.
CREATE POLICY users_read ON users FOR SELECT TO authenticated
USING (id = (SELECT app.current_user_id()) OR app.is_colleague(id));
--> statement-breakpoint
CREATE POLICY users_edit ON users FOR UPDATE TO authenticated
USING (id = (SELECT app.current_user_id()))
WITH CHECK (id = (SELECT app.current_user_id()));
--> statement-breakpoint
CREATE POLICY profiles_own ON profiles FOR ALL TO authenticated
USING (id = (SELECT app.current_user_id()))
WITH CHECK (id = (SELECT app.current_user_id()));
--> statement-breakpoint
-- Memberships: all of the organization, and one's own wherever it is. An admin edits those of
-- others while they last: nobody touches its own, and nobody brings back who was removed.
CREATE POLICY memberships_read ON memberships FOR SELECT TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  OR user_id = (SELECT app.current_user_id())
);
--> statement-breakpoint
CREATE POLICY memberships_edit ON memberships FOR UPDATE TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  AND (SELECT app.is_admin())
  AND user_id <> (SELECT app.current_user_id())
  AND deleted_at IS NULL
)
WITH CHECK (
  organization_id = (SELECT app.current_organization_id())
  AND (SELECT app.is_admin())
  AND user_id <> (SELECT app.current_user_id())
);
--> statement-breakpoint
-- Locations, statuses, priorities: admins write, members read, visitors read what is public.
CREATE POLICY locations_public ON locations FOR SELECT TO anon, authenticated
USING (app.location_is_public(id));
--> statement-breakpoint
CREATE POLICY locations_member ON locations FOR SELECT TO authenticated
USING (organization_id = (SELECT app.current_organization_id()));
--> statement-breakpoint
CREATE POLICY locations_admin ON locations FOR ALL TO authenticated
USING (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()))
WITH CHECK (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()));
--> statement-breakpoint
CREATE POLICY statuses_public ON statuses FOR SELECT TO anon, authenticated
USING (app.organization_is_public(organization_id));
--> statement-breakpoint
CREATE POLICY statuses_member ON statuses FOR SELECT TO authenticated
USING (organization_id = (SELECT app.current_organization_id()));
--> statement-breakpoint
CREATE POLICY statuses_admin ON statuses FOR ALL TO authenticated
USING (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()))
WITH CHECK (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()));
--> statement-breakpoint
CREATE POLICY priorities_public ON priorities FOR SELECT TO anon, authenticated
USING (app.organization_is_public(organization_id));
--> statement-breakpoint
CREATE POLICY priorities_member ON priorities FOR SELECT TO authenticated
USING (organization_id = (SELECT app.current_organization_id()));
--> statement-breakpoint
CREATE POLICY priorities_admin ON priorities FOR ALL TO authenticated
USING (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()))
WITH CHECK (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()));
--> statement-breakpoint
-- Models and machines: written by those who see every issue, for the error of a foreign key tells
-- that a machine still has one.
CREATE POLICY models_read ON models FOR SELECT TO anon, authenticated
USING (organization_id IS NULL);
--> statement-breakpoint
CREATE POLICY models_member ON models FOR SELECT TO authenticated
USING (organization_id = (SELECT app.current_organization_id()));
--> statement-breakpoint
CREATE POLICY models_write ON models FOR ALL TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  AND (SELECT app.current_permission()) = 'view_all'
)
WITH CHECK (
  organization_id = (SELECT app.current_organization_id())
  AND (SELECT app.current_permission()) = 'view_all'
);
--> statement-breakpoint
CREATE POLICY machines_public ON machines FOR SELECT TO anon, authenticated
USING (app.machine_is_public(id));
--> statement-breakpoint
CREATE POLICY machines_member ON machines FOR SELECT TO authenticated
USING (organization_id = (SELECT app.current_organization_id()));
--> statement-breakpoint
CREATE POLICY machines_write ON machines FOR ALL TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  AND (SELECT app.current_permission()) = 'view_all'
)
WITH CHECK (
  organization_id = (SELECT app.current_organization_id())
  AND (SELECT app.current_permission()) = 'view_all'
);
--> statement-breakpoint
-- Issues. "Assigned" means assigned to the caller or reported by the caller. Only admins delete for
-- good: an issue that was called a duplicate of it may be hidden from others, and the foreign key
-- would tell.
CREATE POLICY issues_public ON issues FOR SELECT TO anon, authenticated
USING (app.issue_is_public(id));
--> statement-breakpoint
CREATE POLICY issues_member ON issues FOR SELECT TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  AND (
    (SELECT app.current_permission()) = 'view_all'
    OR (
      (SELECT app.current_permission()) = 'view_assigned'
      AND (SELECT app.current_user_id()) IN (assigned_to_id, created_by_id)
    )
  )
);
--> statement-breakpoint
CREATE POLICY issues_report ON issues FOR INSERT TO authenticated
WITH CHECK (
  organization_id = (SELECT app.current_organization_id())
  AND (SELECT app.current_permission()) IN ('view_all', 'view_assigned')
  AND created_by_id = (SELECT app.current_user_id())
  AND (duplicate_of_id IS NULL OR app.can_view_issue(duplicate_of_id))
);
--> statement-breakpoint
CREATE POLICY issues_edit ON issues FOR UPDATE TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  AND (
    (SELECT app.current_permission()) = 'view_all'
    OR (
      (SELECT app.current_permission()) = 'view_assigned'
      AND (SELECT app.current_user_id()) IN (assigned_to_id, created_by_id)
    )
  )
)
WITH CHECK (
  organization_id = (SELECT app.current_organization_id())
  AND (
    (SELECT app.current_permission()) = 'view_all'
    OR (
      (SELECT app.current_permission()) = 'view_assigned'
      AND (SELECT app.current_user_id()) IN (assigned_to_id, created_by_id)
    )
  )
  AND (duplicate_of_id IS NULL OR app.can_view_issue(duplicate_of_id))
);
--> statement-breakpoint
CREATE POLICY issues_delete ON issues FOR DELETE TO authenticated
USING (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()));
--> statement-breakpoint
-- What hangs on an issue is seen by those who see the issue, and written by its author.
CREATE POLICY comments_public ON comments FOR SELECT TO anon, authenticated
USING (NOT is_internal AND deleted_at IS NULL AND app.issue_is_public(issue_id));
--> statement-breakpoint
CREATE POLICY comments_member ON comments FOR SELECT TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id()) AND app.can_view_issue(issue_id)
);
--> statement-breakpoint
CREATE POLICY comments_author ON comments FOR ALL TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  AND author_id = (SELECT app.current_user_id())
  AND app.can_view_issue(issue_id)
)
WITH CHECK (
  organization_id = (SELECT app.current_organization_id())
  AND author_id = (SELECT app.current_user_id())
  AND app.can_view_issue(issue_id)
);
--> statement-breakpoint
CREATE POLICY comments_moderate ON comments FOR DELETE TO authenticated
USING (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()));
--> statement-breakpoint
CREATE POLICY attachments_member ON attachments FOR SELECT TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id()) AND app.can_view_issue(issue_id)
);
--> statement-breakpoint
CREATE POLICY attachments_uploader ON attachments FOR ALL TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  AND uploader_id = (SELECT app.current_user_id())
  AND app.can_view_issue(issue_id)
)
WITH CHECK (
  organization_id = (SELECT app.current_organization_id())
  AND uploader_id = (SELECT app.current_user_id())
  AND app.can_view_issue(issue_id)
);
--> statement-breakpoint
CREATE POLICY attachments_moderate ON attachments FOR DELETE TO authenticated
USING (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()));
--> statement-breakpoint
CREATE POLICY upvotes_read ON upvotes FOR SELECT TO authenticated
USING (app.can_view_issue(issue_id));
--> statement-breakpoint
CREATE POLICY upvotes_cast ON upvotes FOR INSERT TO authenticated
WITH CHECK (user_id = (SELECT app.current_user_id()) AND app.can_view_issue(issue_id));
--> statement-breakpoint
CREATE POLICY upvotes_withdraw ON upvotes FOR DELETE TO authenticated
USING (user_id = (SELECT app.current_user_id()) AND app.can_view_issue(issue_id));
--> statement-breakpoint
CREATE POLICY notifications_own ON notifications FOR ALL TO authenticated
USING (
  organization_id = (SELECT app.current_organization_id())
  AND user_id = (SELECT app.current_user_id())
)
WITH CHECK (
  organization_id = (SELECT app.current_organization_id())
  AND user_id = (SELECT app.current_user_id())
);
--> statement-breakpoint
CREATE POLICY audit_log_read ON audit_log FOR SELECT TO authenticated
USING (organization_id = (SELECT app.current_organization_id()) AND (SELECT app.is_admin()));
