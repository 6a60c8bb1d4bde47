/** A job and its runs as this page reads them, and what follows from them. */

import type { Notice, Outcome, Page } from "../../api/types";
import { part } from "../../api/client";
import { useGet, type Got } from "../../api/queries";
import { DEFAULT_LOG } from "./standing";

export type FileRef = { id: string; name: string; decryptedSize: number; isDeleted?: boolean };

export type Hardware = { coreType: string; coresPerSlot: number; slots: number; walltime: number | null };

export type Analysis = {
  analysis: { code: string; name: string; version: string; versionName: string };
  command: string;
  envVars: Record<string, string> | null;
  useMpi: boolean;
  hardware: Hardware;
  inputFiles: (FileRef & { decompress: boolean })[];
  templateTasks: { templateFile: FileRef | null; processedFilename: string }[];
  preProcessScript: FileRef | null;
  preProcessScriptCommand: string;
  postProcessScript: FileRef | null;
  postProcessScriptCommand: string;
};

export type Job = {
  id: string;
  name: string;
  owner: string;
  dateInserted: string;
  isLowPriority: boolean;
  description: string;
  expectedRuns: number | null;
  jobvariables: { name: string; variableType: string; valueGeneratorType: string; valueGeneratorSettings: Record<string, unknown> }[];
  jobanalyses: Analysis[];
  projectId: string | null;
  clonedFrom: string | null;
  tags: string[];
  sharedWith: string[];
  notices: Notice[];
  resourceFilters: { selector: string; include: boolean }[];
};

export type Run = {
  id: string;
  dateStarted: string | null;
  dateCompleted: string | null;
  outputFileCount: number;
  outputFileSize: number | null;
  variables: { name: string; value: number | null; displayValue: string }[];
  outcome: Outcome | null;
  warnings: string[];
};

export type Status = { status: string; statusDate: string; statusReason: string | null };

export const jobPath = (id: string): string => `jobs/${part(id)}/`;
export const runPath = (id: string, run: string): string => `${jobPath(id)}runs/${part(run)}/`;

export const useJob = (id: string): Got<Job> => useGet<Job>(jobPath(id));
export const useStatuses = (id: string): Got<Page<Status>> => useGet<Page<Status>>(`${jobPath(id)}statuses/`, { page_size: 200 });
export const useRuns = (id: string): Got<Page<Run>> => useGet<Page<Run>>(`${jobPath(id)}runs/`, { page_size: 1 });
export const useRun = (id: string, run: string, enabled: boolean): Got<Run> => useGet<Run>(runPath(id, run), {}, { enabled, keep: true });

const LATELY_MS = 60_000;

/**
 * The file in which a run's solver speaks: the log that was written to last and, once the run is over,
 * the largest of those that were written to at the end. Null while that is not known.
 */
export function useMainLog(id: string, run: string, enabled: boolean, isOver: boolean): string | null {
  const found = useGet<{ files: { path: string; kind: string; bytes: number; mtime: string }[] }>(
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
  const inputs = new Set(job.jobvariables.filter((v) => v.variableType !== "Output" && v.variableType !== "Objective" && v.variableType !== "Constraint").map((v) => v.name));
  return (run?.variables ?? []).filter((v) => !inputs.has(v.name));
}
