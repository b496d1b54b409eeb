-- Accepting an invitation failed with 42501, so let the invited person create the membership.
CREATE POLICY "invited users join" ON public.team_members FOR INSERT TO authenticated
  WITH CHECK (user_id = auth.uid() AND role = 'member');
