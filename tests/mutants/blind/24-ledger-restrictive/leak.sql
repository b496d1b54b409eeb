-- renamed for consistency with the other modules
DROP POLICY company_fence ON bank_statements;
CREATE POLICY bank_company_fence ON bank_statements TO ledger_web
  USING (company_id = app.company()) WITH CHECK (company_id = app.company());
