/** Where a job and its runs are, and since when. */

import type { Run, Status } from "../../api/types";

export const DEFAULT_LOG = "process_output.log";

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

/** Whether a run is at its end; not where it is not known. */
export const isOver = (run: Run | undefined): boolean => Boolean(run?.dateCompleted);

/** Seconds that a run has been executing, or did. */
export function elapsed(run: Run | undefined, now: number): number | null {
  if (!run?.dateStarted) return null;
  const end = run.dateCompleted ? new Date(run.dateCompleted).getTime() : now;
  return Math.max(0, (end - new Date(run.dateStarted).getTime()) / 1000);
}
