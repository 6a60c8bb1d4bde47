/** Requests as a shell makes them. */

export type Call = {
  title: string;
  method: "GET" | "POST" | "DELETE";
  path: string; // below /api/v2/
  query?: Record<string, string>;
  json?: unknown;
  form?: string; // a file that is sent
  isText?: boolean; // a reply that is no JSON
};

/** In a shell, as one word. */
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
  const json = call.json === undefined ? "" : quoted(JSON.stringify(call.json));
  if (json) words.push(`-H 'Content-Type: application/json' --data ${json}`);
  if (call.form) words.push(`-F ${quoted(`file=@${call.form}`)}`);
  words.push(quoted(`${base}${call.path}${queried(call.query)}`));
  return words.join(" \\\n  ");
}

/** The same with our own command, which has server and key from the environment. */
export function cli(call: Call): string {
  const words = ["simyard api"];
  if (call.method === "DELETE" || (call.method === "POST" && call.json === undefined && !call.form))
    words.push(call.method);
  const lines = [`${words.join(" ")} ${quoted(call.path)}`];
  for (const pair of Object.entries(call.query ?? {})) lines.push(`-q ${quoted(pair.join("="))}`);
  if (call.json !== undefined) lines.push(`--json ${quoted(JSON.stringify(call.json))}`);
  if (call.form) lines.push(`--file ${quoted(call.form)}`);
  return lines.join(" \\\n  ");
}

/** What tells it the server, before the first call. base: where the API is. */
export const cliServer = (base: string): string =>
  `export SIMYARD_URL=${quoted(base.replace(/\/api\/v2\/$/, ""))}`;
