-- Editorial workspaces on Supabase.
CREATE TABLE public.profiles (
  id uuid PRIMARY KEY REFERENCES auth.users ON DELETE CASCADE,
  display_name text
);
CREATE FUNCTION public.handle_new_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  INSERT INTO public.profiles (id) VALUES (NEW.id) ON CONFLICT (id) DO NOTHING;
  RETURN NEW;
END $$;
CREATE TRIGGER on_auth_user_created AFTER INSERT ON auth.users
  FOR EACH ROW EXECUTE FUNCTION public.handle_new_user();

CREATE TABLE public.workspaces (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL
);
CREATE TABLE public.workspace_members (
  workspace_id uuid NOT NULL REFERENCES public.workspaces ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
  PRIMARY KEY (workspace_id, user_id)
);
CREATE TABLE public.articles (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  workspace_id uuid NOT NULL REFERENCES public.workspaces ON DELETE CASCADE,
  slug text NOT NULL,
  headline text NOT NULL,
  body text NOT NULL DEFAULT '',
  status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'review', 'published', 'archived')),
  published_at timestamptz,
  UNIQUE (workspace_id, slug),
  CONSTRAINT published_has_date CHECK (status <> 'published' OR published_at IS NOT NULL)
);
CREATE TABLE public.article_revisions (
  article_id uuid NOT NULL REFERENCES public.articles ON DELETE CASCADE,
  revision int NOT NULL CHECK (revision > 0),
  body text NOT NULL,
  PRIMARY KEY (article_id, revision)
);

CREATE FUNCTION public.is_workspace_member(workspace uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT EXISTS (SELECT FROM public.workspace_members
                 WHERE workspace_id = workspace AND user_id = auth.uid())
$$;

ALTER TABLE public.profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.workspaces ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.workspace_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.articles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.article_revisions ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_profile ON public.profiles FOR SELECT USING (id = auth.uid());
CREATE POLICY own_profile_update ON public.profiles FOR UPDATE USING (id = auth.uid());
CREATE POLICY member_workspaces ON public.workspaces FOR SELECT USING (public.is_workspace_member(id));
CREATE POLICY member_list ON public.workspace_members FOR SELECT
  USING (public.is_workspace_member(workspace_id));
CREATE POLICY workspace_articles ON public.articles
  USING (public.is_workspace_member(workspace_id))
  WITH CHECK (public.is_workspace_member(workspace_id));
CREATE POLICY workspace_revisions ON public.article_revisions
  USING (EXISTS (SELECT FROM public.articles a
                 WHERE a.id = article_revisions.article_id
                   AND public.is_workspace_member(a.workspace_id)));

REVOKE TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA public FROM anon, authenticated;
