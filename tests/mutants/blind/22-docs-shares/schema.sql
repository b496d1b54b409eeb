-- Document workspace on Supabase. A document can be shared with any single user, also one of another organization.
create schema if not exists private;
create type public.doc_status as enum ('draft', 'final', 'archived');

create table public.organizations (
  id uuid primary key default gen_random_uuid(),
  name text not null
);
create table public.profiles (
  id uuid primary key references auth.users on delete cascade,
  display_name text,
  theme text not null default 'light' check (theme in ('light', 'dark'))
);
create table public.organization_members (
  organization_id uuid not null references public.organizations on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  joined_at timestamptz not null default now(),
  primary key (organization_id, user_id)
);
create table public.folders (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations on delete cascade,
  parent_id uuid,
  name text not null,
  unique (organization_id, id),
  foreign key (organization_id, parent_id) references public.folders (organization_id, id) on delete cascade
);
create table public.documents (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations on delete cascade,
  folder_id uuid,
  title text not null,
  body jsonb not null default '{}',
  status public.doc_status not null default 'draft',
  deleted_at timestamptz,
  search tsvector generated always as (to_tsvector('simple', title)) stored,
  unique (organization_id, id),
  foreign key (organization_id, folder_id) references public.folders (organization_id, id)
);
create table public.document_versions (
  document_id uuid not null references public.documents on delete cascade,
  version int not null check (version > 0),
  body jsonb not null,
  primary key (document_id, version)
);
create table public.document_shares (
  document_id uuid not null references public.documents on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  permission text not null default 'view' check (permission in ('view', 'comment')),
  primary key (document_id, user_id)
);
create table public.document_comments (
  id uuid primary key default gen_random_uuid(),
  document_id uuid not null references public.documents on delete cascade,
  author_id uuid not null references auth.users on delete cascade,
  body text not null
);
create table public.tags (
  organization_id uuid not null references public.organizations on delete cascade,
  name text not null,
  color text not null default '#888888' check (color ~ '^#[0-9a-f]{6}$'),
  primary key (organization_id, name)
);
create table public.document_tags (
  organization_id uuid not null,
  document_id uuid not null,
  tag text not null,
  primary key (document_id, tag),
  foreign key (organization_id, document_id) references public.documents (organization_id, id) on delete cascade,
  foreign key (organization_id, tag) references public.tags on delete cascade
);

create function public.handle_new_user() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into public.profiles (id, display_name) values (new.id, split_part(new.email, '@', 1)) on conflict do nothing;
  return new;
end $$;
create trigger on_auth_user_created after insert on auth.users for each row execute function public.handle_new_user();

create function private.is_member(org uuid) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.organization_members m where m.organization_id = org and m.user_id = auth.uid())
$$;
create function private.can_manage(doc uuid) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.documents d join public.organization_members m using (organization_id)
                 where d.id = doc and m.user_id = auth.uid())
$$;
create function private.shared_with_me(doc uuid, minimum text) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.document_shares s where s.document_id = doc and s.user_id = auth.uid()
                 and (minimum = 'view' or s.permission = 'comment'))
$$;

alter table public.organizations enable row level security;
alter table public.profiles enable row level security;
alter table public.organization_members enable row level security;
alter table public.folders enable row level security;
alter table public.documents enable row level security;
alter table public.document_versions enable row level security;
alter table public.document_shares enable row level security;
alter table public.document_comments enable row level security;
alter table public.tags enable row level security;
alter table public.document_tags enable row level security;

create policy "members see their organizations" on public.organizations for select to authenticated using (private.is_member(id));
create policy "own profile" on public.profiles for select to authenticated using (id = auth.uid());
create policy "own profile edit" on public.profiles for update to authenticated using (id = auth.uid()) with check (id = auth.uid());
create policy "members see members" on public.organization_members for select to authenticated using (private.is_member(organization_id));
create policy "members use folders" on public.folders for all to authenticated
  using (private.is_member(organization_id)) with check (private.is_member(organization_id));
create policy "read documents" on public.documents for select to authenticated
  using (deleted_at is null and (private.is_member(organization_id) or private.shared_with_me(id, 'view')));
create policy "add documents" on public.documents for insert to authenticated with check (private.is_member(organization_id));
create policy "edit documents" on public.documents for update to authenticated
  using (private.is_member(organization_id)) with check (private.is_member(organization_id));
create policy "drop documents" on public.documents for delete to authenticated using (private.is_member(organization_id));
create policy "read versions" on public.document_versions for select to authenticated
  using (exists (select 1 from public.documents d where d.id = document_id));
create policy "add versions" on public.document_versions for insert to authenticated with check (private.can_manage(document_id));
create policy "read shares" on public.document_shares for select to authenticated
  using (user_id = auth.uid() or private.can_manage(document_id));
create policy "add shares" on public.document_shares for insert to authenticated with check (private.can_manage(document_id));
create policy "change shares" on public.document_shares for update to authenticated
  using (private.can_manage(document_id)) with check (private.can_manage(document_id));
create policy "end shares" on public.document_shares for delete to authenticated
  using (user_id = auth.uid() or private.can_manage(document_id));
create policy "read comments" on public.document_comments for select to authenticated
  using (exists (select 1 from public.documents d where d.id = document_id));
create policy "add comments" on public.document_comments for insert to authenticated
  with check (author_id = auth.uid() and (private.can_manage(document_id) or private.shared_with_me(document_id, 'comment')));
create policy "edit comments" on public.document_comments for update to authenticated
  using (author_id = auth.uid() and private.can_manage(document_id)) with check (author_id = auth.uid() and private.can_manage(document_id));
create policy "drop comments" on public.document_comments for delete to authenticated
  using (author_id = auth.uid() and private.can_manage(document_id));
create policy "members use tags" on public.tags for all to authenticated
  using (private.is_member(organization_id)) with check (private.is_member(organization_id));
create policy "members use document tags" on public.document_tags for all to authenticated
  using (private.is_member(organization_id)) with check (private.is_member(organization_id));

revoke all on all tables in schema public from anon;
revoke truncate, references, trigger on all tables in schema public from authenticated;
revoke all on function public.handle_new_user() from public, anon, authenticated;
grant usage on schema private to authenticated;
