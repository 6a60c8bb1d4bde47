/** What a view of a job does, as requests that anybody can make: with curl, and from Python. */

import { jobPath, runPath } from "../../api/jobs";
import type { Call } from "../../lib/curl";
import { json } from "../../lib/pasted";
import { DEFAULT_LOG } from "./standing";

/** As Python writes a value. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object") return json(value);
  return `{${Object.entries(value).map(([name, each]) => `${literal(name)}: ${literal(each)}`).join(", ")}}`;
}

const PREAMBLE = [
  "import os",
  "",
  "import requests",
  "",
  "session = requests.Session()",
  'session.headers["Authorization"] = f"Token {os.environ[\'SIMYARD_API_KEY\']}"',
];

export function python(base: string, calls: readonly Call[]): string {
  const lines = [...PREAMBLE, `base = ${literal(base)}`];
  for (const call of calls) {
    const given = [`base + ${literal(call.path)}`];
    if (call.query && Object.keys(call.query).length) given.push(`params=${literal(call.query)}`);
    if (call.json !== undefined) given.push(`json=${literal(call.json)}`);
    lines.push("", `# ${call.title}`);
    lines.push(`reply = session.${call.method.toLowerCase()}(${given.join(", ")})`, "reply.raise_for_status()");
    if (call.method === "GET") lines.push(`print(${call.isText ? "reply.text" : "reply.json()"})`);
  }
  return lines.join("\n") + "\n";
}

export type Screen = { job: string; run: string; path: string; q: string };

/** The requests behind each view, with what it shows now. */
export function calls(screen: Screen): { view: string; calls: Call[] }[] {
  const job = jobPath(screen.job);
  const run = runPath(screen.job, screen.run);
  const log: Record<string, string> = screen.path && screen.path !== DEFAULT_LOG ? { path: screen.path } : {};
  const get = (title: string, path: string, query: Record<string, string> = {}): Call => ({
    title,
    method: "GET",
    path,
    query,
  });
  const all = { runs: [Number(screen.run)] };
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
        get(screen.q ? `Where it has ${json(screen.q)}` : "Where it has a text", `${run}log/search/`, {
          ...log,
          q: screen.q || "error",
        }),
        get("Where errors and warnings are", `${run}log/marks/`, log),
      ],
    },
    {
      view: "Files",
      calls: [
        get("The files, folder by folder", `${run}tree/`, screen.q ? { q: screen.q } : {}),
        {
          title: "A zip of all of them: its address is in the reply",
          method: "POST",
          path: `${job}archives/`,
          json: all,
        },
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
