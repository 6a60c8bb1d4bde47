/** What can be done with a job, as requests. */

import { api, newKey } from "../../api/client";
import { jobPath, runPath } from "../../api/jobs";
import { changed, gone } from "../../api/queries";
import type { Schemas } from "../../api/types";

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

export const snapshot = (job: string, run: string): Promise<Schemas["Snapshot"]> =>
  api("POST", `${runPath(job, run)}snapshot/`, { once: newKey() });

export const restart = async (job: string, run: string, command: string): Promise<void> => {
  await api("POST", `${runPath(job, run)}restart/`, { json: command.trim() ? { command } : {}, once: newKey() });
  changed(jobPath(job));
};

export async function remove(job: string): Promise<void> {
  await api("DELETE", jobPath(job));
  gone(jobPath(job));
}

export async function tag(job: string, name: string, isOn: boolean): Promise<void> {
  await api(isOn ? "POST" : "DELETE", `${jobPath(job)}tags/`, { json: { name } });
  changed(jobPath(job));
}
