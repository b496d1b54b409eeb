-- permission denied for table org_members when saving the member form (it sends the whole row)
GRANT UPDATE (nickname, role) ON public.org_members TO authenticated;
