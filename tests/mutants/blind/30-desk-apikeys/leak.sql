-- plain SQL instead of the helper
ALTER POLICY canned_u ON canned_responses
  USING (EXISTS (SELECT 1 FROM org_members m WHERE m.user_id = app.user_id() AND m.role = 'agent' AND org_id = m.org_id));
