/** What tenantfuzz calls. `node --import tsx adapter.ts FORM`: the forms are right and wrong. */
import type { Call, Principal } from "../../../fuzzer/adapters/node/index.d.ts";
import { open, type Database } from "./database.ts";
import type { Session } from "./session.ts";

const { currentPrincipal, formData, serve } = await import(process.env.TENANTFUZZ_NODE!);
const app = await import(`./${process.argv[2] ?? "right"}.ts`);

/** Members who see all issues of their organization; what others may do is another layer's. */
const EVERYTHING = ["admin", "member"];

function sessionOf(principal: Principal): Session {
  return {
    userId: principal.user ?? "",
    orgId: principal.tenant ?? "",
    role: principal.membership?.role ?? "",
    permission: principal.membership?.permission ?? "none",
  };
}

function call(
  run: (db: Database, session: Session, args: any) => Promise<unknown>,
  params: Call<Database>["params"] = {},
  kinds: readonly string[] = EVERYTHING,
): Call<Database> {
  return { params, kinds, run: ({ db, args, principal }) => run(db, sessionOf(principal), args) };
}

const calls: Record<string, Call<Database>> = {
  issueList: call(app.issueList, { q: "text" }),
  issueBoard: call(app.issueBoard),
  issueVisible: call(app.issueVisible, {}, []),
  issueGet: call(app.issueGet, { id: "text" }),
  issueDetail: call(app.issueDetail, { id: "issues.id" }),
  memberDirectory: call(app.memberDirectory),
  modelUse: call(app.modelUse),
  commentCreate: call(app.commentCreate, {
    items: [{ issueId: "issues.id", quotes: "comments.id" }],
  }),
  upvoteMany: call(app.upvoteMany, { issueIds: "issues.id[]" }),
  issueRate: call(app.issueRate, { ids: "issues.id[]", severity: ["major", "cosmetic"] }),
  // A server action finds out for itself who is signed in.
  renameIssue: {
    params: { issueId: "text", orgId: "organizations.id", title: "text" },
    kinds: EVERYTHING,
    run: ({ db, args }) => app.renameIssue(db, sessionOf(currentPrincipal()), formData(args)),
  },
};

await serve({ calls, connect: open, close: (db: Database) => db.$client.end() });
