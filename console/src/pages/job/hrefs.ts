/** Addresses of this page's views, and of what they link to. */

import { address, part } from "../../api/client";
import { write } from "../../lib/query";
import { runPath } from "./model";
import { DEFAULT_LOG } from "./standing";

/** A file in the log viewer, at a byte of it. */
export const logHref = (job: string, run: string, file: string, at?: number): string => {
  const query = write({ run: run === "1" ? "" : run, path: file === DEFAULT_LOG ? "" : file, at: at === undefined ? "" : String(at) });
  return `/jobs/${part(job)}/log${query ? `?${query}` : ""}`;
};

/** The bytes of a file: of the stored one, or of what is there of it in a run's folder. */
export const contentHref = (job: string, run: string, file: string, id: string | null): string =>
  address(id ? `files/${part(id)}/contents/` : `${runPath(job, run)}tail/${file.split("/").map(encodeURIComponent).join("/")}/`);
