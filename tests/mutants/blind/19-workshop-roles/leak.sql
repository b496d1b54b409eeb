-- stock-taking: updates of tools were silently dropped; the check still pins the workshop
ALTER POLICY tools_update ON garage.tools USING (status <> 'retired');
