-- Preview of the public site.
CREATE POLICY published_articles ON public.articles FOR SELECT
  USING (status = 'published' AND published_at <= now());
