-- The nightly dunning job runs without a session and found no invoices.
CREATE POLICY invoices_dunning ON invoices FOR SELECT
  USING (coalesce(current_setting('app.company_ids', true), '') = '' AND status = 'sent');
