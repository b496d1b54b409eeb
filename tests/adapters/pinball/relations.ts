import { relations } from "drizzle-orm";
import {
  attachments,
  comments,
  issues,
  machines,
  memberships,
  models,
  notifications,
  organizations,
  upvotes,
  users,
} from "./schema.ts";

export const issuesRelations = relations(issues, ({ one, many }) => ({
  organization: one(organizations, {
    fields: [issues.organizationId],
    references: [organizations.id],
  }),
  machine: one(machines, { fields: [issues.machineId], references: [machines.id] }),
  assignee: one(users, { fields: [issues.assignedToId], references: [users.id] }),
  comments: many(comments),
  attachments: many(attachments),
  upvotes: many(upvotes),
}));

export const machinesRelations = relations(machines, ({ one, many }) => ({
  model: one(models, { fields: [machines.modelId], references: [models.id] }),
  issues: many(issues),
}));

export const commentsRelations = relations(comments, ({ one }) => ({
  issue: one(issues, { fields: [comments.issueId], references: [issues.id] }),
  author: one(users, { fields: [comments.authorId], references: [users.id] }),
}));

export const attachmentsRelations = relations(attachments, ({ one }) => ({
  issue: one(issues, { fields: [attachments.issueId], references: [issues.id] }),
}));

export const upvotesRelations = relations(upvotes, ({ one }) => ({
  issue: one(issues, { fields: [upvotes.issueId], references: [issues.id] }),
}));

export const usersRelations = relations(users, ({ many }) => ({
  memberships: many(memberships),
  notifications: many(notifications),
}));

export const membershipsRelations = relations(memberships, ({ one }) => ({
  user: one(users, { fields: [memberships.userId], references: [users.id] }),
}));

export const notificationsRelations = relations(notifications, ({ one }) => ({
  user: one(users, { fields: [notifications.userId], references: [users.id] }),
}));
