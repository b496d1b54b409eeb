-- share links: whoever opens the link adds the document to "shared with me"
alter policy "add shares" on public.document_shares
  with check (private.can_manage(document_id) or user_id = auth.uid());
