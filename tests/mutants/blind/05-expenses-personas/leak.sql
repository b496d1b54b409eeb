-- Clerks must be able to change their claims; the list of states was in the way when a new one came.
ALTER POLICY expenses_clerk_edit ON expenses
  WITH CHECK (exp_has_role(organization_id, 'clerk') AND submitted_by = exp_user());
