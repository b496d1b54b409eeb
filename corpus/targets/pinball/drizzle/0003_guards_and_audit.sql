-- Guards of the relations that are tied by name only. They run after the row, and so after row
-- security has judged it: a caller learns nothing from them about rows of others. Their messages
-- carry no values. They look at the data alone, never at who asks.
CREATE FUNCTION app.guard_machine_model() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM 1
  FROM public.models m
  WHERE m.id = NEW.model_id
    AND (m.organization_id IS NULL OR m.organization_id = NEW.organization_id)
  FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the organization has no such model' USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER machines_model_guard
AFTER INSERT OR UPDATE OF organization_id, model_id ON public.machines
FOR EACH ROW EXECUTE FUNCTION app.guard_machine_model();
--> statement-breakpoint
CREATE FUNCTION app.guard_model_use() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    PERFORM 1
    FROM public.machines m
    WHERE m.model_id = OLD.id
      AND (NEW.id <> OLD.id
           OR (NEW.organization_id IS NOT NULL AND NEW.organization_id <> m.organization_id));
  ELSE
    PERFORM 1 FROM public.machines m WHERE m.model_id = OLD.id;
  END IF;
  IF FOUND THEN
    RAISE EXCEPTION 'the model is in use' USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER models_use_guard
AFTER UPDATE OF id, organization_id OR DELETE ON public.models
FOR EACH ROW EXECUTE FUNCTION app.guard_model_use();
--> statement-breakpoint
CREATE FUNCTION app.guard_attachment_issue() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  PERFORM 1
  FROM public.issues i
  WHERE i.id = NEW.issue_id AND i.organization_id = NEW.organization_id
  FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the organization has no such issue' USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER attachments_issue_guard
AFTER INSERT OR UPDATE OF organization_id, issue_id ON public.attachments
FOR EACH ROW EXECUTE FUNCTION app.guard_attachment_issue();
--> statement-breakpoint
-- An issue keeps its id for ever. Otherwise the error of a foreign key would tell whoever renames
-- an issue that another one, which may be hidden, calls it its original.
CREATE FUNCTION app.refuse_new_id() RETURNS trigger
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
  RAISE EXCEPTION 'an id never changes' USING ERRCODE = 'integrity_constraint_violation';
END
$$;
--> statement-breakpoint
CREATE TRIGGER issues_id_guard
BEFORE UPDATE OF id ON public.issues
FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id)
EXECUTE FUNCTION app.refuse_new_id();
--> statement-breakpoint
CREATE FUNCTION app.guard_issue_attachments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    DELETE FROM public.attachments a
    WHERE a.issue_id = OLD.id AND a.organization_id = OLD.organization_id;
    RETURN NULL;
  END IF;
  PERFORM 1
  FROM public.attachments a
  WHERE a.issue_id = NEW.id AND a.organization_id <> NEW.organization_id;
  IF FOUND THEN
    RAISE EXCEPTION 'the issue has attachments' USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER issues_attachments_guard
AFTER UPDATE OF organization_id OR DELETE ON public.issues
FOR EACH ROW EXECUTE FUNCTION app.guard_issue_attachments();
--> statement-breakpoint
-- The audit trail. The actor is NULL where no user is signed in, as in imports and jobs. A row that
-- moves between organizations leaves one and enters another: neither log shows the other's version.
CREATE FUNCTION app.audited_organization(relation text, changed jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = '' AS $$
  SELECT CASE relation
    WHEN 'organizations' THEN changed ->> 'id'
    WHEN 'upvotes' THEN
      (SELECT i.organization_id FROM public.issues i WHERE i.id = changed ->> 'issue_id')
    ELSE changed ->> 'organization_id'
  END
$$;
--> statement-breakpoint
CREATE FUNCTION app.write_audit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
  actor text := app.current_user_id();
  before jsonb;
  after jsonb;
  left_organization text;
  entered_organization text;
BEGIN
  IF TG_OP <> 'INSERT' THEN
    before := to_jsonb(OLD) - 'search' - 'embedding';
    left_organization := app.audited_organization(TG_TABLE_NAME, before);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    after := to_jsonb(NEW) - 'search' - 'embedding';
    entered_organization := app.audited_organization(TG_TABLE_NAME, after);
  END IF;
  IF TG_OP = 'UPDATE' AND left_organization IS DISTINCT FROM entered_organization THEN
    INSERT INTO public.audit_log (organization_id, actor_id, relation, action, old_row)
    VALUES (left_organization, actor, TG_TABLE_NAME, 'DELETE', before);
    INSERT INTO public.audit_log (organization_id, actor_id, relation, action, new_row)
    VALUES (entered_organization, actor, TG_TABLE_NAME, 'INSERT', after);
  ELSE
    INSERT INTO public.audit_log (organization_id, actor_id, relation, action, old_row, new_row)
    VALUES (
      coalesce(entered_organization, left_organization), actor, TG_TABLE_NAME, TG_OP, before, after
    );
  END IF;
  RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER organizations_audit
AFTER INSERT OR UPDATE OR DELETE ON public.organizations
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER users_audit
AFTER INSERT OR UPDATE OR DELETE ON public.users
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER profiles_audit
AFTER INSERT OR UPDATE OR DELETE ON public.profiles
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER memberships_audit
AFTER INSERT OR UPDATE OR DELETE ON public.memberships
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER locations_audit
AFTER INSERT OR UPDATE OR DELETE ON public.locations
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER models_audit
AFTER INSERT OR UPDATE OR DELETE ON public.models
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER machines_audit
AFTER INSERT OR UPDATE OR DELETE ON public.machines
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER statuses_audit
AFTER INSERT OR UPDATE OR DELETE ON public.statuses
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER priorities_audit
AFTER INSERT OR UPDATE OR DELETE ON public.priorities
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER issues_audit
AFTER INSERT OR UPDATE OR DELETE ON public.issues
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER comments_audit
AFTER INSERT OR UPDATE OR DELETE ON public.comments
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER attachments_audit
AFTER INSERT OR UPDATE OR DELETE ON public.attachments
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER upvotes_audit
AFTER INSERT OR UPDATE OR DELETE ON public.upvotes
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
--> statement-breakpoint
CREATE TRIGGER notifications_audit
AFTER INSERT OR UPDATE OR DELETE ON public.notifications
FOR EACH ROW EXECUTE FUNCTION app.write_audit();
