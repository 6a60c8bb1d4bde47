/** The runs of a study as columns, kept up to date by differences, and views of them. */

import type { Schemas } from "../../api/types";

export type Value = number | string | null;

export type Columns = Schemas["StudyColumns"];

export type Run = Omit<Schemas["StudyRow"], "isNominal">;

/** What is known, with a reply in it: all of it, or only what may be different. */
export function merged(known: ReadonlyMap<string, Run>, reply: Columns): Map<string, Run> {
  const runs = new Map(reply.isWhole ? [] : known);
  const optimal = new Set(reply.optimal);
  const at = (columns: Record<string, Value[]>, n: number): Record<string, Value> =>
    Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[n] ?? null]));
  reply.id.forEach((id, n) => {
    runs.set(id, {
      id,
      status: reply.status[n] ?? "planned",
      duration: reply.duration[n] ?? null,
      coreHours: reply.coreHours[n] ?? null,
      inputs: at(reply.inputs, n),
      outputs: at(reply.outputs, n),
      reason: reply.reasons[id] ?? "",
      isOptimal: optimal.has(id),
    });
  });
  for (const [id, run] of runs) {
    if (run.isOptimal !== optimal.has(id)) runs.set(id, { ...run, isOptimal: optimal.has(id) });
  }
  return runs;
}

/** A column by its key: "inputs.alpha", "outputs.Cd", "id", "status", "duration", "coreHours". */
export function valueOf(run: Run, key: string): Value {
  const [group, ...rest] = key.split(".");
  const name = rest.join(".");
  if (group === "inputs") return run.inputs[name] ?? null;
  if (group === "outputs") return run.outputs[name] ?? null;
  if (key === "id") return Number(run.id);
  if (key === "status") return run.status;
  if (key === "duration") return run.duration;
  return run.coreHours;
}

/** In order of a column; a minus in front: largest first. Runs without a value come last either way. */
export function sorted(runs: readonly Run[], sort: string): Run[] {
  const isDown = sort.startsWith("-");
  const key = isDown ? sort.slice(1) : sort;
  const place = new Map(runs.map((run, n) => [run, n]));
  return runs.toSorted((a, b) => {
    const [x, y] = [finite(valueOf(a, key)), finite(valueOf(b, key))];
    if (x === null || y === null) return x === y ? place.get(a)! - place.get(b)! : x === null ? 1 : -1;
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return (isDown ? -order : order) || place.get(a)! - place.get(b)!;
  });
}

function finite(value: Value): Value {
  const isNumberless = value === "NaN" || (typeof value === "number" && Number.isNaN(value));
  return isNumberless ? null : value;
}

/** The number of a value; null where it has none that can be drawn. */
export function numeric(value: Value): number | null {
  const n = typeof value === "number" ? value : typeof value === "string" && value.trim() ? Number(value) : Number.NaN;
  return Number.isFinite(n) ? n : null;
}

/** The least and the most of them; 0 and 1 where there are none. */
export function extent(values: readonly number[]): [number, number] {
  if (!values.length) return [0, 1];
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/** A little around what is there, so that no point lies on the frame. */
export function padded([low, high]: [number, number]): [number, number] {
  const around = (high - low || Math.abs(high) || 1) * 0.05;
  return [low - around, high + around];
}

/** Round values between two bounds, some `most` of them. */
export function ticks(low: number, high: number, most = 6): number[] {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? rough;
  const found: number[] = [];
  for (let n = Math.ceil(low / step); n * step <= high * (1 + 1e-12) + step * 1e-9; n++)
    found.push(Number((n * step).toPrecision(12)));
  return found;
}
