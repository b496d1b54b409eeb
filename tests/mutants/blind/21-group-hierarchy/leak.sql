-- controlling wants submitted expenses along the whole line
ALTER POLICY group_read ON expenses
  USING (status <> 'draft' AND organization_id IN (SELECT app.my_orgs_up()));
