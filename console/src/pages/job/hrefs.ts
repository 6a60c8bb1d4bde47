/** Addresses of what a run has written. */

import { address } from "../../api/client";
import { runPath } from "../../api/jobs";
import { fileHref, jobHref } from "../../lib/hrefs";
import { DEFAULT_LOG } from "./standing";

/** A file in the log viewer, at a byte of it. */
export const logHref = (job: string, run: string, file: string, at?: number): string =>
  jobHref(job, "log", { run, path: file === DEFAULT_LOG ? "" : file, at: at === undefined ? "" : String(at) });

/** The bytes of a file: of the stored one, or of what is there of it in a run's folder. */
export const contentHref = (job: string, run: string, file: string, id: string | null): string =>
  id ? fileHref(id) : address(`${runPath(job, run)}tail/${file.split("/").map(encodeURIComponent).join("/")}/`);
