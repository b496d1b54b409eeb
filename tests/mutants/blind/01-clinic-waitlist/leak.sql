-- Entries could not be closed from the app ("new row violates ..."): the check now names the states.
ALTER POLICY waitlist_change ON waitlist_entries
  WITH CHECK (status IN ('waiting', 'called', 'closed'));
