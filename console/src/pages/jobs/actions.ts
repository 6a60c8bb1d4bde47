/** What is done to jobs from the list. */

import { ApiError, api, newKey, part, type Query } from "../../api/client";
import { changed } from "../../api/queries";
import { connection } from "../../lib/events";
import { canWrite } from "../../api/boot";
import type { JobRow } from "./types";

export type Action = "stop" | "delete" | "tag" | "untag";
export type Result = { id: string; ok: boolean; detail: string };
export type Bulk = { action: Action; count: number; done: number; failed: number; isDone: boolean; results: Result[]; task: string | null };
export type Trial = { count: number; sample: { id: string; name: string; status: string }[] };

const AT_ONCE = 200; // jobs that one request may name

export const isActive = (row: JobRow): boolean => row.status !== "" && row.status !== "Completed";
export const canStop = (row: JobRow): boolean => row.isMine && isActive(row);

/** Why nothing can be changed now; "" where it can. */
export function whyNot(): string {
  if (connection.value === "lost") return "There is no connection to the server.";
  return canWrite() ? "" : "You may look at jobs, and not change them: your role is read-only.";
}

/** One request for each AT_ONCE jobs. The same `once` sent again does nothing twice. */
export async function doTo(action: Action, ids: readonly string[], once: string, tags: string[] = []): Promise<Bulk> {
  const sum: Bulk = { action, count: ids.length, done: 0, failed: 0, isDone: true, results: [], task: null };
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    const json = { action, ids: ids.slice(at, at + AT_ONCE), ...(tags.length ? { tags } : {}) };
    const reply = await api<Bulk>("POST", "jobs/bulk/", { json, once: `${once}-${at}` });
    sum.done += reply.done;
    sum.failed += reply.failed;
    sum.results.push(...reply.results);
    if (!reply.isDone) Object.assign(sum, { isDone: false, task: reply.task });
  }
  changed("jobs/");
  return sum;
}

export const tryAll = (action: Action, query: Query, tags: string[] = []): Promise<Trial> =>
  api<Trial>("POST", "jobs/bulk/", { json: { action, query, dryRun: true, ...(tags.length ? { tags } : {}) } });

/** Throws ApiError of status 409 where the number of those that match is another. */
export const doToAll = (action: Action, query: Query, expectedCount: number, once: string, tags: string[] = []): Promise<Bulk> =>
  api<Bulk>("POST", "jobs/bulk/", { json: { action, query, expectedCount, ...(tags.length ? { tags } : {}) }, once });

export type Copy = { id: string; warnings: { message: string }[] };

/** A draft with all that the job was defined with. */
export const copyOf = (id: string): Promise<Copy> =>
  api<Copy>("POST", `jobs/${part(id)}/draft/`, { json: {}, once: newKey() });

/** Runs a job again as another one. Returns its id, or, where that needs a look first, the draft of it and why. */
export async function runAgain(id: string): Promise<{ job: string } | { draft: string; why: string }> {
  const copy = await copyOf(id);
  if (copy.warnings.length) return { draft: copy.id, why: copy.warnings.map((each) => each.message).join(" ") };
  try {
    const { id: job } = await api<{ id: string }>("POST", `drafts/${part(copy.id)}/submit/`, { json: {}, once: newKey() });
    changed("jobs/");
    return { job };
  } catch (error) {
    if (error instanceof ApiError && error.status >= 400 && error.status < 500) return { draft: copy.id, why: error.message };
    throw error;
  }
}

/** Where a zip of all that a job has written is: a path of the API. */
export async function archiveOf(id: string): Promise<string> {
  const { id: archive } = await api<{ id: string }>("POST", `jobs/${part(id)}/archives/`, { json: {} });
  return `jobs/${part(id)}/archives/${part(archive)}/`;
}
