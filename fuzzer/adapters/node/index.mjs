/**
 * Lets tenantfuzz call application code: JSON lines over stdin and stdout, one answer a question.
 * No dependencies. What the code prints goes to stderr, so that it may print what it likes.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { createInterface } from "node:readline";

const callers = new AsyncLocalStorage();
const DEEPEST = 64;
const say = takeStdout();

/** How to connect to the scratch database, in the words of `pg` and of `postgres`. */
export function connection(dsn = process.env.TENANTFUZZ_DSN) {
  if (!dsn) {
    throw new Error("TENANTFUZZ_DSN is not set: this program is started by tenantfuzz");
  }
  const url = new URL(dsn);
  const settings = {
    host: url.searchParams.get("host") ?? url.hostname,
    port: Number(url.searchParams.get("port") ?? (url.port || 5432)),
    user: decodeURIComponent(url.username),
    database: decodeURIComponent(url.pathname.slice(1)),
  };
  return url.password ? { ...settings, password: decodeURIComponent(url.password) } : settings;
}

/** On whose behalf the call at hand is made: for a `getSession()` of the tests' own. */
export function currentPrincipal() {
  return callers.getStore();
}

/** Arguments as a form sends them: for server actions that take FormData. */
export function formData(args) {
  const form = new FormData();
  for (const [name, value] of Object.entries(args)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== null && item !== undefined) {
        form.append(name, typeof item === "object" ? JSON.stringify(item) : String(item));
      }
    }
  }
  return form;
}

/**
 * Answers questions until stdin ends. `connect` is called once, before the first call; whatever it
 * returns is `db` to every call, and to `close` at the end.
 */
export async function serve({ calls, connect, close }) {
  const offered = new Map(Object.entries(calls).map(([name, call]) => [name, asCall(name, call)]));
  let db;
  const connected = () => (db ??= Promise.resolve(connect?.({ ...connection() })));

  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    if (line.trim() === "") continue;
    const { id, answer } = await answered(line, offered, connected);
    await say(JSON.stringify(id === undefined ? answer : { id, ...answer }) + "\n");
  }
  if (db !== undefined) {
    await close?.(await db);
  }
  process.exit(0);
}

async function answered(line, offered, connected) {
  let question;
  try {
    question = JSON.parse(line);
  } catch (error) {
    return { answer: { error: { code: "PROTOCOL", message: `no JSON: ${error.message}` } } };
  }
  const { id, op, name, args = {}, principal = {} } = question;
  if (op === "list") {
    const list = [...offered].map(([key, { run, ...rest }]) => ({ name: key, ...rest }));
    return { id, answer: { calls: list } };
  }
  const call = op === "call" ? offered.get(name) : undefined;
  if (call === undefined) {
    const message = op === "call" ? `there is no call ${name}` : `there is no operation ${op}`;
    return { id, answer: { error: { code: "PROTOCOL", message } } };
  }
  try {
    const db = await connected();
    const result = await callers.run(principal, () => call.run({ db, args, principal }));
    return { id, answer: { rows: await rowsOf(result) } };
  } catch (error) {
    return { id, answer: ending(error) };
  }
}

function asCall(name, call) {
  const known = typeof call === "function" ? { run: call } : call;
  if (typeof known?.run !== "function") {
    throw new TypeError(`calls.${name}: expected a function, or an object with run`);
  }
  const { params = {}, kinds = [], writes = [], run } = known;
  return { params, kinds, writes, run };
}

/** Keeps stdout for answers; whatever else is written there goes to stderr. */
function takeStdout() {
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = process.stderr.write.bind(process.stderr);
  return (text) =>
    new Promise((done, failed) => write(text, (error) => (error ? failed(error) : done())));
}

async function rowsOf(result) {
  if (typeof Response !== "undefined" && result instanceof Response) {
    return [{ status: result.status, body: await result.text() }];
  }
  if (result === undefined || result === null) return [];
  const items = Array.isArray(result) ? [...result] : [result];
  return items.map((item) => plain(item, 0));
}

/** A value as JSON has it. */
function plain(value, depth) {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "function" || typeof value === "symbol") return String(value);
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (typeof value !== "object") return value;
  if (depth > DEEPEST) throw new Error("the result holds itself, or is nested too deeply");
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) return bytes(value);
  if (value instanceof Map) return plain(Object.fromEntries(value), depth);
  if (value instanceof Set) return plain([...value], depth);
  if (typeof value.toJSON === "function") return plain(value.toJSON(), depth + 1);
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v, depth + 1)]));
}

/** Text where it is text, so that what it carries can be recognised; else hexadecimal. */
function bytes(value) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(value);
  } catch {
    return Buffer.from(value).toString("hex");
  }
}

/** What an exception means: an error with the code that the database gave, where it did. */
function ending(error) {
  const chain = [];
  for (let e = error; e !== null && e !== undefined && chain.length < 8; e = e.cause) chain.push(e);
  const digest = typeof error?.digest === "string" ? error.digest : "";
  if (digest.startsWith("NEXT_REDIRECT")) return { rows: [{ redirect: digest }] };
  const coded = chain.findLast((e) => e.code !== undefined && e.code !== null);
  const messages = chain.map((e) => (typeof e === "object" ? e.message : String(e)));
  const details = chain.flatMap((e) => [e.detail, e.hint, e.where]).filter((t) => t);
  return {
    error: {
      code: String(coded?.code ?? (digest || (error?.name ?? "Error"))),
      message: String(messages[0] ?? error),
      detail: [...messages.slice(1), ...details].join("\n"),
    },
  };
}
