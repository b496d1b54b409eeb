/** On whose behalf a call is made. */
export interface Principal {
  /** As under `[principals]` of tenantfuzz.toml; `member` where there are none. */
  kind: string;
  /** The organisation in force. */
  tenant: string | null;
  /** All organisations that count. */
  tenants: string[];
  user: string | null;
  /** The database role of its session, where there is one. */
  role: string | null;
  /** The settings of its session, rendered: claims, the current organisation. */
  settings: Record<string, string>;
  /** The columns of the membership in which it acts. */
  membership: Record<string, string | null> | null;
}

/**
 * A type (`text`, `int`, `number`, `bool`, `uuid`, `date`, `timestamp`), a column (`issues.id`), a
 * list of two of one (`issues.id[]`), the caller's own (`tenant`, `tenants`, `user`), a list of the
 * only values, an object of these, or a list that holds one such object: then two are sent.
 */
export type Param =
  | string
  | readonly (string | number | boolean | null)[]
  | readonly [{ readonly [name: string]: Param }]
  | { readonly [name: string]: Param };

export interface Request<Db, Args = any> {
  /** What `connect` returned. */
  db: Db;
  args: Args;
  principal: Principal;
}

export type Run<Db> = (request: Request<Db>) => unknown;

export interface Call<Db> {
  params?: { readonly [name: string]: Param };
  /** The kinds of principal that may make it; unless said, everybody who is signed in: also users
   *  who left or never joined, whose tenant is null. */
  kinds?: readonly string[];
  /** Relations that it writes on the caller's behalf: judged by the caller's rules there. */
  writes?: readonly string[];
  run: Run<Db>;
}

export interface Connection {
  host: string;
  port: number;
  user: string;
  database: string;
  password?: string;
}

export interface Service<Db> {
  calls: { readonly [name: string]: Call<Db> | Run<Db> };
  /** Called once, before the first call. */
  connect?: (connection: Connection) => Db | Promise<Db>;
  /** Called when tenantfuzz is done. */
  close?: (db: Db) => unknown;
}

/** Answers tenantfuzz until it is done, then ends the process. */
export function serve<Db>(service: Service<Db>): Promise<never>;

/** How to connect to the scratch database, in the words of `pg` and of `postgres`. */
export function connection(dsn?: string): Connection;

/** The principal of the call at hand, wherever in the code that is. */
export function currentPrincipal(): Principal | undefined;

/** Arguments as a form sends them. */
export function formData(args: Record<string, unknown>): FormData;
