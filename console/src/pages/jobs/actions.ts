/** What is done to jobs from the list. */

import { api, type Query } from "../../api/client";
import { jobPath } from "../../api/jobs";
import { changed } from "../../api/queries";
import type { JobRow, Schemas } from "../../api/types";
import { archiveHref } from "../../lib/hrefs";

export type Action = "stop" | "delete" | "tag" | "untag";
export type Bulk = Omit<Schemas["Bulk"], "action" | "dryRun" | "sample"> & { action: Action };
export type Trial = Pick<Schemas["Bulk"], "count" | "sample">;

const AT_ONCE = 200; // jobs that one request may name

export const isActive = (row: JobRow): boolean => row.status !== "" && row.status !== "Completed";
export const canStop = (row: JobRow): boolean => row.isMine && isActive(row);

/** One request for each AT_ONCE jobs. The same `once` sent again does nothing twice. */
export async function doTo(
  action: Action,
  ids: readonly string[],
  once: string,
  tags: string[] = [],
): Promise<Bulk> {
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
export const doToAll = (
  action: Action,
  query: Query,
  expectedCount: number,
  once: string,
  tags: string[] = [],
): Promise<Bulk> =>
  api<Bulk>("POST", "jobs/bulk/", { json: { action, query, expectedCount, ...(tags.length ? { tags } : {}) }, once });

/** Where a zip of all that a job has written is. */
export const archiveOf = async (id: string): Promise<string> =>
  archiveHref(id, (await api<Schemas["Archive"]>("POST", `${jobPath(id)}archives/`, { json: {} })).id);
