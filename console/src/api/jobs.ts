/** Where the API has a job, and what several pages do with one. */

import { ApiError, api, newKey, part } from "./client";
import { changed } from "./queries";
import type { Schemas } from "./types";

export const jobPath = (id: string): string => `jobs/${part(id)}/`;
export const runPath = (id: string, run: string): string => `${jobPath(id)}runs/${part(run)}/`;

/** A draft with all that the job was defined with. */
export const copyOf = (id: string): Promise<Schemas["DraftOfJob"]> =>
  api("POST", `${jobPath(id)}draft/`, { json: {}, once: newKey() });

/** Runs a job again as another one. Returns its id, or, where that needs a look first, the draft of it and why. */
export async function runAgain(id: string): Promise<{ job: string } | { draft: string; why: string }> {
  const copy = await copyOf(id);
  if (copy.warnings.length) return { draft: copy.id, why: copy.warnings.map((each) => each.message).join(" ") };
  try {
    const path = `drafts/${part(copy.id)}/submit/`;
    const job = await api<Schemas["SubmittedDraft"]>("POST", path, { json: {}, once: newKey() });
    changed("jobs/");
    return { job: job.id };
  } catch (error) {
    if (!(error instanceof ApiError) || error.status < 400 || error.status >= 500) throw error;
    return { draft: copy.id, why: error.message };
  }
}
