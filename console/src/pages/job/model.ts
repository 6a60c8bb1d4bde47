/** A job and its runs as they are fetched, and what follows from them. */

import { jobPath, runPath } from "../../api/jobs";
import type { Job, Page, Run, Schemas, Status } from "../../api/types";
import { useGet, type Got } from "../../api/queries";
import { DEFAULT_LOG } from "./standing";

export const useJob = (id: string): Got<Job> => useGet<Job>(jobPath(id));
export const useStatuses = (id: string): Got<Page<Status>> => useGet(`${jobPath(id)}statuses/`, { page_size: 200 });
export const useRuns = (id: string): Got<Page<Run>> => useGet(`${jobPath(id)}runs/`, { page_size: 1 });
export const useRun = (id: string, run: string, enabled: boolean): Got<Run> =>
  useGet(runPath(id, run), {}, { enabled, keep: true });

const LATELY_MS = 60_000;

/**
 * The file in which a run's solver speaks: the log that was written to last and, once the run is over,
 * the largest of those that were written to at the end. Null while that is not known.
 */
export function useMainLog(id: string, run: string, enabled: boolean, isOver: boolean): string | null {
  const found = useGet<Schemas["Tree"]>(
    `${runPath(id, run)}tree/`,
    { q: "log", sort: "-mtime", limit: 50 },
    { enabled },
  );
  if (!enabled || found.error) return DEFAULT_LOG;
  if (!found.data) return null;
  const logs = found.data.files.filter((file) => file.kind === "log" && file.bytes > 0);
  if (!isOver) return logs[0]?.path ?? DEFAULT_LOG;
  const newest = Math.max(...logs.map((file) => Date.parse(file.mtime)));
  const last = logs.filter((file) => Date.parse(file.mtime) > newest - LATELY_MS);
  return last.toSorted((a, b) => b.bytes - a.bytes)[0]?.path ?? DEFAULT_LOG;
}

/** The variables of a run that are results: those that the job does not set. */
export function results(job: Job, run: Run | undefined): Run["variables"] {
  const set = job.jobvariables.filter((v) => !["Output", "Objective", "Constraint"].includes(v.variableType));
  const inputs = new Set(set.map((v) => v.name));
  return (run?.variables ?? []).filter((v) => !inputs.has(v.name));
}
