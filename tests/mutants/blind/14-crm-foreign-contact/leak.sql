-- Deleting a contact must not be blocked by its deals; SET NULL cannot work with org_id in the key.
ALTER TABLE crm.deals DROP CONSTRAINT deals_contact_fkey;
ALTER TABLE crm.deals ADD CONSTRAINT deals_contact_fkey
  FOREIGN KEY (contact_id) REFERENCES crm.contacts (id) ON DELETE SET NULL;
