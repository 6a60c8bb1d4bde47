/** What can be done with a job, as requests. */

import { ApiError, api, newKey, part } from "../../api/client";
import { changed } from "../../api/queries";
import { jobPath, runPath } from "./model";

type Drafted = { id: string; warnings?: { message: string }[] };

export const stop = async (job: string): Promise<void> => {
  await api("POST", `${jobPath(job)}stop/`);
  changed(jobPath(job));
};

export const stopRun = async (job: string, run: string): Promise<void> => {
  await api("POST", `${runPath(job, run)}stop/`);
  changed(jobPath(job));
};

export const submit = async (job: string): Promise<void> => {
  await api("POST", `${jobPath(job)}submit/`);
  changed(jobPath(job));
};

export const snapshot = (job: string, run: string): Promise<{ reason: string }> => api("POST", `${runPath(job, run)}snapshot/`, { once: newKey() });

export const restart = async (job: string, run: string, command: string): Promise<void> => {
  await api("POST", `${runPath(job, run)}restart/`, { json: command.trim() ? { command } : {}, once: newKey() });
  changed(jobPath(job));
};

export const remove = (job: string): Promise<void> => api("DELETE", jobPath(job));

/** A draft of the same definition, to be changed. */
export const copyAsDraft = (job: string): Promise<Drafted> => api<Drafted>("POST", `${jobPath(job)}draft/`, { once: newKey() });

/** The same job once more; the id of the new one. */
export async function runAgain(job: string): Promise<string> {
  const draft = await copyAsDraft(job);
  const path = `drafts/${part(draft.id)}/`;
  try {
    return (await api<{ id: string }>("POST", `${path}submit/`, { once: newKey() })).id;
  } catch (error) {
    if (error instanceof ApiError && error.status) void api("DELETE", path).catch(() => {}); // it was refused: nobody needs it
    throw error;
  }
}

export async function tag(job: string, name: string, isOn: boolean): Promise<void> {
  await api(isOn ? "POST" : "DELETE", `${jobPath(job)}tags/`, { json: { name } });
  changed(jobPath(job));
}
