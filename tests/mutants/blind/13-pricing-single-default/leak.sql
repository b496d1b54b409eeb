-- Defaults are one for each currency now.
DROP INDEX one_default;
CREATE UNIQUE INDEX one_default ON price_lists (merchant_id, currency) WHERE is_default;
CREATE OR REPLACE FUNCTION single_default() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE price_lists SET is_default = false
  WHERE currency = NEW.currency AND id <> NEW.id AND is_default;
  RETURN NEW;
END $$;
