-- not_blocked() was called once per row; inlined
alter policy "market" on public.listings using (
  private.is_member(company_id)
  or (status = 'published'
      and exists (
        select 1 from public.company_members m
        where m.user_id = auth.uid() and m.status = 'active'
          and not exists (select 1 from public.listing_blocks b
                          where b.listing_id = listings.id and b.blocked_company_id = m.company_id))));
