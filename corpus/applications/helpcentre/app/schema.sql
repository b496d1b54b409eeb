-- Help centre: articles of each brand, plus the vendor's own articles that every brand shows (brand_id is null).
CREATE ROLE hc_metrics NOLOGIN;
CREATE TABLE brands (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  subdomain  text NOT NULL UNIQUE CHECK (subdomain ~ '^[a-z0-9-]{1,40}$'),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE agents (
  id    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL UNIQUE
);
CREATE TABLE brand_agents (
  brand_id   uuid NOT NULL REFERENCES brands ON DELETE CASCADE,
  agent_id   uuid NOT NULL REFERENCES agents ON DELETE CASCADE,
  deleted_at timestamptz,
  PRIMARY KEY (brand_id, agent_id)
);
CREATE TABLE categories (
  id       uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  brand_id uuid NOT NULL REFERENCES brands ON DELETE CASCADE,
  name     text NOT NULL,
  position integer NOT NULL DEFAULT 0
);
CREATE TABLE articles (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  brand_id    uuid REFERENCES brands ON DELETE CASCADE,
  category_id uuid REFERENCES categories ON DELETE SET NULL,
  lang        text NOT NULL DEFAULT 'en' CHECK (lang IN ('en', 'de', 'fr')),
  title       text NOT NULL,
  body        text NOT NULL,
  published   boolean NOT NULL DEFAULT true,
  deleted_at  timestamptz,
  search      tsvector GENERATED ALWAYS AS (
                setweight(to_tsvector('simple', title), 'A') || setweight(to_tsvector('simple', body), 'B')) STORED
);
CREATE INDEX articles_search ON articles USING gin (search);
CREATE TABLE article_votes (
  article_id uuid NOT NULL REFERENCES articles ON DELETE CASCADE,
  brand_id   uuid NOT NULL REFERENCES brands ON DELETE CASCADE,
  visitor    text NOT NULL,
  helpful    boolean NOT NULL,
  PRIMARY KEY (article_id, brand_id, visitor)
);
