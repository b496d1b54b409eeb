-- invoice notes were missing in the timeline when the invoice had no job
ALTER POLICY notes_read ON notes USING (
  EXISTS (SELECT 1 FROM jobs j WHERE j.id = notes.job_id) OR job_id IS NULL);
