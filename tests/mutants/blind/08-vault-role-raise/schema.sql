-- Shared secrets on Supabase; viewers see documents, editors and owners also see secrets.
CREATE TYPE public.member_role AS ENUM ('viewer', 'editor', 'owner');

CREATE TABLE public.orgs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL
);
CREATE TABLE public.org_members (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  org_id uuid NOT NULL REFERENCES public.orgs ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
  role public.member_role NOT NULL DEFAULT 'viewer',
  nickname text,
  UNIQUE (org_id, user_id)
);
CREATE TABLE public.documents (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  org_id uuid NOT NULL REFERENCES public.orgs ON DELETE CASCADE,
  title text NOT NULL,
  content text
);
CREATE TABLE public.secrets (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  org_id uuid NOT NULL REFERENCES public.orgs ON DELETE CASCADE,
  label text NOT NULL,
  ciphertext bytea,
  UNIQUE (org_id, label)
);

CREATE FUNCTION public.role_in(org uuid) RETURNS public.member_role
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS
$$ SELECT role FROM public.org_members WHERE org_id = org AND user_id = auth.uid() $$;

ALTER TABLE public.orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.org_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.secrets ENABLE ROW LEVEL SECURITY;

CREATE POLICY orgs_select ON public.orgs FOR SELECT TO authenticated USING (public.role_in(id) IS NOT NULL);

CREATE POLICY members_select ON public.org_members FOR SELECT TO authenticated
  USING (public.role_in(org_id) IS NOT NULL);
CREATE POLICY members_insert ON public.org_members FOR INSERT TO authenticated
  WITH CHECK (public.role_in(org_id) = 'owner');
CREATE POLICY members_delete ON public.org_members FOR DELETE TO authenticated
  USING (public.role_in(org_id) = 'owner');
-- Everybody sets their own nickname: the columns that may change are granted, below.
CREATE POLICY members_nickname ON public.org_members FOR UPDATE TO authenticated
  USING (user_id = auth.uid()) WITH CHECK (user_id = auth.uid());

CREATE POLICY documents_select ON public.documents FOR SELECT TO authenticated
  USING (public.role_in(org_id) IS NOT NULL);
CREATE POLICY documents_insert ON public.documents FOR INSERT TO authenticated
  WITH CHECK (public.role_in(org_id) >= 'editor');
CREATE POLICY documents_update ON public.documents FOR UPDATE TO authenticated
  USING (public.role_in(org_id) >= 'editor');
CREATE POLICY documents_delete ON public.documents FOR DELETE TO authenticated
  USING (public.role_in(org_id) >= 'editor');

CREATE POLICY secrets_all ON public.secrets TO authenticated
  USING (public.role_in(org_id) >= 'editor');

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM anon;
REVOKE TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA public FROM authenticated;
REVOKE UPDATE ON public.org_members FROM authenticated;
GRANT UPDATE (nickname) ON public.org_members TO authenticated;
