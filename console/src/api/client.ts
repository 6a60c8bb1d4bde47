/** Requests to the server: every path is below the prefix that the page was served from. */

import { signal } from "@preact/signals";

/** What the server is mounted at: "" or "/tools/simyard". */
export const prefix = new URL(document.baseURI).pathname.replace(/\/+$/, "");

export type Query = Record<string, string | number | boolean | readonly (string | number)[] | null | undefined>;

/** The messages of a refused body, by the path of the field: "jobanalyses.0.command". */
export type FieldErrors = Record<string, string[]>;

export class ApiError extends Error {
  constructor(
    readonly status: number, // 0: no answer
    message: string,
    readonly fields: FieldErrors = {},
    readonly body: unknown = null,
    readonly requestId = "",
  ) {
    super(message);
    this.name = "ApiError";
  }

  get isOffline(): boolean {
    return this.status === 0;
  }
}

/** Whether the page waits for somebody to sign in; the dialog is drawn over whatever is there. */
export const signedOut = signal(false);
let waiting: (() => void)[] = [];

/** Called once there is a session again: requests that were refused are made again. */
export function signedIn(): void {
  signedOut.value = false;
  const resume = waiting;
  waiting = [];
  for (const go of resume) go();
}

function signIn(): Promise<void> {
  signedOut.value = true;
  return new Promise((resolve) => waiting.push(resolve));
}

/** The address of an API path, such as "jobs/": what links, images and downloads point to. */
export function address(path: string, query?: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === null || value === undefined || value === "") continue;
    parameters.set(name, Array.isArray(value) ? value.join(",") : String(value));
  }
  const text = parameters.toString();
  return `${prefix}/api/v2/${path}${text ? `?${text}` : ""}`;
}

/** A part of a path, whatever is in it. */
export const part = (text: string | number): string => encodeURIComponent(String(text));

export type Asked = {
  query?: Query;
  json?: unknown;
  body?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal | null;
  once?: string; // Idempotency-Key
  quiet?: boolean; // a 401 is thrown, and nobody is asked to sign in
};

/** The reply of a request, whatever it is; throws ApiError where it is no success. */
export async function request(method: string, path: string, asked: Asked = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json", ...asked.headers };
  let body = asked.body;
  if (asked.json !== undefined) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(asked.json);
  }
  if (method !== "GET" && method !== "HEAD") headers["X-Simyard"] = "1";
  if (asked.once) headers["Idempotency-Key"] = asked.once;
  for (;;) {
    let response: Response;
    try {
      response = await fetch(address(path, asked.query), {
        method,
        headers,
        body: body ?? null,
        signal: asked.signal ?? null,
        credentials: "same-origin",
      });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ApiError(0, "The server does not answer.");
    }
    if (response.status === 401 && !asked.quiet) {
      await signIn();
      continue;
    }
    if (!response.ok && response.status !== 304) throw await failure(response);
    return response;
  }
}

/** The JSON of a reply; undefined where there is no body. */
export async function api<T>(method: string, path: string, asked: Asked = {}): Promise<T> {
  const response = await request(method, path, asked);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

async function failure(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  let body: unknown = text;
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy's page, or nothing.
  }
  const fields = fieldErrors(body);
  const detail = isObject(body) && typeof body["detail"] === "string" ? body["detail"] : "";
  const first = Object.entries(fields)[0];
  const message =
    detail ||
    (first ? (first[0] ? `${first[0]}: ${first[1][0]}` : String(first[1][0])) : "") ||
    `The server answered ${response.status}.`;
  return new ApiError(response.status, message, fields, body, response.headers.get("X-Request-Id") ?? "");
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Flattens {"jobanalyses": [{}, {"command": ["..."]}]} into paths. `detail` is none of them. */
export function fieldErrors(body: unknown): FieldErrors {
  const found: FieldErrors = {};
  const walk = (value: unknown, path: string): void => {
    if (typeof value === "string") {
      (found[path] ??= []).push(value);
    } else if (Array.isArray(value)) {
      value.forEach((each, at) => {
        walk(each, typeof each === "string" ? path : path ? `${path}.${at}` : String(at));
      });
    } else if (isObject(value)) {
      for (const [name, each] of Object.entries(value)) {
        if (path === "" && name === "detail") continue;
        const isForAll = name === "non_field_errors" || name === "nonFieldErrors";
        walk(each, isForAll ? path : path ? `${path}.${name}` : name);
      }
    }
  };
  if (isObject(body) || Array.isArray(body)) walk(body, "");
  return found;
}

/** A key for a request that must happen once however often it is sent; also without https. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
}
