/** A job and its runs as this page reads them, and what follows from them. */

import type { Notice, Outcome, Page } from "../../api/types";
import { part } from "../../api/client";
import { useGet, type Got } from "../../api/queries";

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

export const DEFAULT_LOG = "process_output.log";

export const jobPath = (id: string): string => `jobs/${part(id)}/`;
export const runPath = (id: string, run: string): string => `${jobPath(id)}runs/${part(run)}/`;

export const useJob = (id: string): Got<Job> => useGet<Job>(jobPath(id));
export const useStatuses = (id: string): Got<Page<Status>> => useGet<Page<Status>>(`${jobPath(id)}statuses/`, { page_size: 200 });
export const useRuns = (id: string): Got<Page<Run>> => useGet<Page<Run>>(`${jobPath(id)}runs/`, { page_size: 1 });
export const useRun = (id: string, run: string, enabled: boolean): Got<Run> => useGet<Run>(runPath(id, run), {}, { enabled, keep: true });

const LATELY_MS = 60_000;

/**
 * The file in which a run's solver speaks: of the logs that were written to last, the largest. Null
 * while that is not known.
 */
export function useMainLog(id: string, run: string, enabled: boolean): string | null {
  const found = useGet<{ files: { path: string; kind: string; bytes: number; mtime: string }[] }>(
    `${runPath(id, run)}tree/`,
    { q: "log", sort: "-mtime", limit: 50 },
    { enabled },
  );
  if (!enabled || found.error) return DEFAULT_LOG;
  if (!found.data) return null;
  const logs = found.data.files.filter((file) => file.kind === "log" && file.bytes > 0);
  const newest = Math.max(...logs.map((file) => Date.parse(file.mtime)));
  const last = logs.filter((file) => Date.parse(file.mtime) > newest - LATELY_MS);
  return last.toSorted((a, b) => b.bytes - a.bytes)[0]?.path ?? DEFAULT_LOG;
}

export type Now = {
  status: string; // newest word, "" for a draft
  reason: string | null;
  since: string | null;
  isOver: boolean;
  isDraft: boolean;
  isStopping: boolean;
  isExecuting: boolean; // has a folder that can be looked into
};

/** Where a job is, from its history, newest first. */
export function standing(history: readonly Status[]): Now {
  const newest = history[0];
  const status = newest?.status ?? "";
  return {
    status,
    reason: newest?.statusReason ?? null,
    since: newest?.statusDate ?? null,
    isOver: status === "Completed",
    isDraft: status === "",
    isStopping: status === "Stopping",
    isExecuting: status === "Executing" || status === "Stopping",
  };
}

/** Each word with how long it lasted, oldest first; the last one goes on unless the job is over. */
export function timeline(history: readonly Status[], now: number): (Status & { seconds: number | null })[] {
  const oldest = history.toReversed();
  return oldest.map((entry, n) => {
    const next = oldest[n + 1];
    const begun = new Date(entry.statusDate).getTime();
    const ended = next ? new Date(next.statusDate).getTime() : entry.status === "Completed" ? null : now;
    return { ...entry, seconds: ended === null ? null : Math.max(0, (ended - begun) / 1000) };
  });
}

/** Seconds that a run has been executing, or did. */
export function elapsed(run: Run | undefined, now: number): number | null {
  if (!run?.dateStarted) return null;
  const end = run.dateCompleted ? new Date(run.dateCompleted).getTime() : now;
  return Math.max(0, (end - new Date(run.dateStarted).getTime()) / 1000);
}

/** The variables of a run that are results: those that the job does not set. */
export function results(job: Job, run: Run | undefined): Run["variables"] {
  const inputs = new Set(job.jobvariables.filter((v) => v.variableType !== "Output" && v.variableType !== "Objective" && v.variableType !== "Constraint").map((v) => v.name));
  return (run?.variables ?? []).filter((v) => !inputs.has(v.name));
}

export const isStudy = (job: Job): boolean => (job.expectedRuns ?? 1) > 1 || job.jobvariables.length > 0;
