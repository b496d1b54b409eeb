-- autosave is hot: look the membership up in place
ALTER POLICY "blockAll" ON wiki."Block"
  USING ("workspaceId" IN (SELECT m."workspaceId" FROM wiki."WorkspaceMember" m
                           WHERE m."userId" = wiki.me() AND m."acceptedAt" IS NOT NULL));
