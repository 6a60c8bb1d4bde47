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
