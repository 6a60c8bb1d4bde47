/** What a view of a job does, as requests that anybody can make: with curl, and from Python. */

import { DEFAULT_LOG } from "./standing";

export type Call = {
  title: string;
  method: "GET" | "POST" | "DELETE";
  path: string; // below /api/v2/
  query?: Record<string, string>;
  json?: unknown;
  file?: string; // where the reply goes; JSON is shown otherwise
  isText?: boolean; // a reply that is no JSON
};

/** In a shell, as one word. */
export const quoted = (text: string): string => (/^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replace(/'/g, `'\\''`)}'`);

const queried = (query: Call["query"]): string => {
  const text = new URLSearchParams(query).toString();
  return text ? `?${text}` : "";
};

export function curl(base: string, call: Call): string {
  const words = ["curl -sS"];
  if (call.method !== "GET") words.push(`-X ${call.method}`);
  words.push('-H "Authorization: Token $SIMYARD_API_KEY"');
  if (call.json !== undefined) words.push(`-H 'Content-Type: application/json' --data ${quoted(JSON.stringify(call.json))}`);
  if (call.file) words.push(`-o ${quoted(call.file)}`);
  words.push(quoted(`${base}${call.path}${queried(call.query)}`));
  return words.join(" \\\n  ");
}

/** As Python writes a value. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, each]) => `${literal(name)}: ${literal(each)}`).join(", ")}}`;
  return JSON.stringify(value);
}

export function python(base: string, calls: readonly Call[]): string {
  const lines = ["import os", "", "import requests", "", "session = requests.Session()", 'session.headers["Authorization"] = f"Token {os.environ[\'SIMYARD_API_KEY\']}"', `base = ${literal(base)}`];
  for (const call of calls) {
    const more = [...(call.query && Object.keys(call.query).length ? [`params=${literal(call.query)}`] : []), ...(call.json === undefined ? [] : [`json=${literal(call.json)}`])];
    lines.push("", `# ${call.title}`);
    const given = [`base + ${literal(call.path)}`, ...more].join(", ");
    if (call.file) {
      lines.push(`with session.${call.method.toLowerCase()}(${[given, "stream=True"].join(", ")}) as reply, open(${literal(call.file)}, "wb") as file:`, "    reply.raise_for_status()", "    for part in reply.iter_content(1 << 20):", "        file.write(part)");
    } else {
      lines.push(`reply = session.${call.method.toLowerCase()}(${given})`, "reply.raise_for_status()");
      if (call.method === "GET") lines.push(`print(${call.isText ? "reply.text" : "reply.json()"})`);
    }
  }
  return lines.join("\n") + "\n";
}

export type Screen = { job: string; run: string; path: string; q: string };

/** The requests behind each view, with what it shows now. */
export function calls(screen: Screen): { view: string; calls: Call[] }[] {
  const job = `jobs/${encodeURIComponent(screen.job)}/`;
  const run = `${job}runs/${encodeURIComponent(screen.run)}/`;
  const log: Record<string, string> = screen.path && screen.path !== DEFAULT_LOG ? { path: screen.path } : {};
  const get = (title: string, path: string, query: Record<string, string> = {}): Call => ({ title, method: "GET", path, query });
  return [
    {
      view: "Overview",
      calls: [
        get("The job as it was defined", job),
        get("What it went through", `${job}statuses/`),
        get("The run, and how it ended", run),
        get("Whether it converges", `${run}convergence/`),
        get("Residuals and monitors", `${run}series/data/`, { points: "1200" }),
        get("What it uses", `${run}metrics/data/`),
      ],
    },
    {
      view: "Log",
      calls: [
        { ...get("The end of the log", `${run}log/`, { ...log, offset: "-65536", align: "line" }), isText: true },
        get(screen.q ? `Where it has ${JSON.stringify(screen.q)}` : "Where it has a text", `${run}log/search/`, { ...log, q: screen.q || "error" }),
        get("Where errors and warnings are", `${run}log/marks/`, log),
      ],
    },
    {
      view: "Files",
      calls: [
        get("The files, folder by folder", `${run}tree/`, screen.q ? { q: screen.q } : {}),
        { title: "A zip of all of them: its address is in the reply", method: "POST", path: `${job}archives/`, json: { runs: [Number(screen.run)] } },
      ],
    },
    {
      view: "Actions",
      calls: [
        { title: "Stop it", method: "POST", path: `${job}stop/` },
        { title: "A draft of the same", method: "POST", path: `${job}draft/` },
        { title: "Share it", method: "POST", path: `${job}share/`, json: { email: "somebody@example.org" } },
      ],
    },
  ];
}
