/** What a view of a job does, as requests that anybody can make: with curl, and from Python. */

import { jobPath, runPath } from "../../api/jobs";
import type { Call } from "../../lib/curl";
import { json } from "../../lib/pasted";
import type { Place } from "../../lib/query";
import { isNothing, read, sent } from "./rules";
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

/** place: what the view has in its address. */
export type Screen = { job: string; run: string; place: Place };

/** Of a place, what the requests of the views depend on. */
export const asked = (place: Place): Place =>
  Object.fromEntries(["path", "q", "regex", "case", "sel"].map((name) => [name, place[name] ?? ""]));

/** The requests behind each view, with what it shows now. */
export function calls(screen: Screen): { view: string; calls: Call[] }[] {
  const job = jobPath(screen.job);
  const run = runPath(screen.job, screen.run);
  const { path = "", q = "", regex, case: isExact, sel } = screen.place;
  const log: Record<string, string> = path && path !== DEFAULT_LOG ? { path } : {};
  const how = { ...(regex === "1" ? { regex } : {}), ...(isExact === "1" ? { case: isExact } : {}) };
  const get = (title: string, path: string, query: Record<string, string> = {}): Call => ({
    title,
    method: "GET",
    path,
    query,
  });
  const rules = read(sel);
  const runs = [Number(screen.run)];
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
        get(q ? `Where it has ${json(q)}` : "Where it has a text", `${run}log/search/`, {
          ...log,
          q: q || "error",
          ...how,
        }),
        get("Where errors and warnings are", `${run}log/marks/`, log),
      ],
    },
    {
      view: "Files",
      calls: [
        get("The files, folder by folder", `${run}tree/`, q ? { q } : {}),
        {
          title: `A zip of ${isNothing(rules) ? "all of them" : "what is chosen"}: its address is in the reply`,
          method: "POST",
          path: `${job}archives/`,
          json: isNothing(rules) ? { runs } : { ...sent(rules), runs },
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
