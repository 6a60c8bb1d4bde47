/** Requests as a shell makes them. */

import { UNSEEN, json } from "./pasted";

export type Call = {
  title: string;
  method: "GET" | "POST" | "DELETE";
  path: string; // below /api/v2/
  query?: Record<string, string>;
  json?: unknown;
  form?: string; // a file that is sent, of an example here
  isText?: boolean; // a reply that is no JSON
  into?: string; // the file that the reply becomes
};

/** In a shell, as one word. text: without anything UNSEEN. */
export const quoted = (text: string): string =>
  /^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`;

const queried = (query: Call["query"]): string => {
  const text = new URLSearchParams(query).toString();
  return text ? `?${text}` : "";
};

export function curl(base: string, call: Call): string {
  const words = ["curl -sS"];
  if (call.method !== "GET") words.push(`-X ${call.method}`);
  words.push('-H "Authorization: Token $SIMYARD_API_KEY"');
  if (call.json !== undefined) words.push(`-H 'Content-Type: application/json' --data ${quoted(json(call.json))}`);
  if (call.form) words.push(`-F ${quoted(`file=@${call.form}`)}`);
  if (call.into) words.push(`-o ${quoted(call.into)}`);
  words.push(quoted(`${base}${call.path}${queried(call.query)}`));
  return words.join(" \\\n  ");
}

/** The same with our own command, which has server and key from the environment. */
export function cli(call: Call): string {
  const words = ["simyard api"];
  if (call.method === "DELETE" || (call.method === "POST" && call.json === undefined && !call.form))
    words.push(call.method);
  const pairs = Object.entries(call.query ?? {}).map((pair) => pair.join("="));
  const isPlain = !pairs.some((pair) => UNSEEN.test(pair));
  const lines = [`${words.join(" ")} ${quoted(isPlain ? call.path : call.path + queried(call.query))}`];
  if (isPlain) for (const pair of pairs) lines.push(`-q ${quoted(pair)}`);
  if (call.json !== undefined) lines.push(`--json ${quoted(json(call.json))}`);
  if (call.form) lines.push(`--file ${quoted(call.form)}`);
  if (call.into) lines.push(`-o ${quoted(call.into)}`);
  return lines.join(" \\\n  ");
}

/** What tells it the server, before the first call. base: where the API is. */
export const cliServer = (base: string): string =>
  `export SIMYARD_URL=${quoted(base.replace(/\/api\/v2\/$/, ""))}`;
