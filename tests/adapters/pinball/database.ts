import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import * as relations from "./relations.ts";
import * as schema from "./schema.ts";

/** The application's one pool. It logs in as a role that no policy binds, as a service does. */
export function open(settings: postgres.Options<{}>) {
  const client = postgres({ ...settings, max: 4, onnotice: () => {} });
  return drizzle(client, { schema: { ...schema, ...relations } });
}

export type Database = ReturnType<typeof open>;
export type Transaction = Parameters<Parameters<Database["transaction"]>[0]>[0];
