import type { Permission } from "./scoping.ts";

/** Who is signed in, in which organization, and what the membership there permits. */
export interface Session {
  userId: string;
  orgId: string;
  role: string;
  permission: string;
}

export function permissionsOf(session: Session): ReadonlySet<Permission> {
  if (session.role === "admin" || session.permission === "view_all") {
    return new Set(["VIEW_ALL_ISSUES"]);
  }
  return new Set(session.permission === "view_assigned" ? ["VIEW_ASSIGNED_ISSUES"] : []);
}
