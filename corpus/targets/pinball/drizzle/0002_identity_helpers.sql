-- Who asks, and for which organization. Every helper answers NULL or false where the identity is
-- missing, malformed or not a member: it never raises, for an error would come up only where there
-- are rows to check, and so would tell that there are some.
CREATE SCHEMA app;
--> statement-breakpoint
-- The signed-in user. auth.uid() raises on a subject that is no uuid.
CREATE FUNCTION app.current_user_id() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  RETURN auth.uid()::text;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
$$;
--> statement-breakpoint
-- The organization that the caller picked, if the caller is an active member of it.
CREATE FUNCTION app.current_organization_id() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT m.organization_id
  FROM public.memberships m
  JOIN public.organizations o ON o.id = m.organization_id
  WHERE m.organization_id = nullif(current_setting('app.current_organization_id', true), '')
    AND m.user_id = (SELECT app.current_user_id())
    AND m.deleted_at IS NULL
    AND o.deleted_at IS NULL
$$;
--> statement-breakpoint
-- What the caller's membership in that organization shows of its issues.
CREATE FUNCTION app.current_permission() RETURNS public.issue_permission
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT m.permission
  FROM public.memberships m
  WHERE m.organization_id = (SELECT app.current_organization_id())
    AND m.user_id = (SELECT app.current_user_id())
$$;
--> statement-breakpoint
CREATE FUNCTION app.is_admin() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT 1
    FROM public.memberships m
    WHERE m.organization_id = (SELECT app.current_organization_id())
      AND m.user_id = (SELECT app.current_user_id())
      AND m.role = 'admin'
  )
$$;
--> statement-breakpoint
-- Whether that user is an active member of the current organization.
CREATE FUNCTION app.is_colleague(subject text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT 1
    FROM public.memberships m
    WHERE m.organization_id = (SELECT app.current_organization_id())
      AND m.user_id = subject
      AND m.deleted_at IS NULL
  )
$$;
--> statement-breakpoint
-- Whether the caller's membership shows that issue. What is public to all is not counted here.
CREATE FUNCTION app.can_view_issue(issue text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT 1
    FROM public.issues i
    WHERE i.id = issue
      AND i.organization_id = (SELECT app.current_organization_id())
      AND CASE (SELECT app.current_permission())
            WHEN 'view_all' THEN true
            WHEN 'view_assigned'
              THEN (SELECT app.current_user_id()) IN (i.assigned_to_id, i.created_by_id)
            ELSE false
          END
  )
$$;
--> statement-breakpoint
-- Visibility runs from organization to location to machine to issue; the nearest that is not NULL
-- counts, and nothing under a deleted parent is public.
CREATE FUNCTION app.organization_is_public(organization text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT 1
    FROM public.organizations o
    WHERE o.id = organization AND o.deleted_at IS NULL AND o.is_public
  )
$$;
--> statement-breakpoint
CREATE FUNCTION app.location_is_public(location text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT 1
    FROM public.locations l
    JOIN public.organizations o ON o.id = l.organization_id
    WHERE l.id = location
      AND l.deleted_at IS NULL AND o.deleted_at IS NULL
      AND coalesce(l.is_public, o.is_public)
  )
$$;
--> statement-breakpoint
CREATE FUNCTION app.machine_is_public(machine text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT 1
    FROM public.machines m
    JOIN public.locations l ON l.id = m.location_id
    JOIN public.organizations o ON o.id = m.organization_id
    WHERE m.id = machine
      AND m.deleted_at IS NULL AND l.deleted_at IS NULL AND o.deleted_at IS NULL
      AND coalesce(m.is_public, l.is_public, o.is_public)
  )
$$;
--> statement-breakpoint
CREATE FUNCTION app.issue_is_public(issue text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT EXISTS (
    SELECT 1
    FROM public.issues i
    JOIN public.machines m ON m.id = i.machine_id
    JOIN public.locations l ON l.id = m.location_id
    JOIN public.organizations o ON o.id = i.organization_id
    WHERE i.id = issue
      AND i.deleted_at IS NULL AND m.deleted_at IS NULL AND l.deleted_at IS NULL
      AND o.deleted_at IS NULL
      AND coalesce(i.is_public, m.is_public, l.is_public, o.is_public)
  )
$$;
