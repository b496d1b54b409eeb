-- The dashboard counts responses before an organisation is chosen.
ALTER POLICY response_read ON responses USING (organization_id IN (SELECT my_orgs()));
