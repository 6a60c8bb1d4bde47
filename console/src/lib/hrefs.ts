/** Addresses: of pages, for <Link>, and of what the server sends as files. */

import { address, part } from "../api/client";
import { write, type Place } from "./query";

/** A job, or a view of it ("log", "files"). The first run is the one that is meant without a word. */
export function jobHref(id: string, view = "", place: Place = {}): string {
  const query = write({ ...place, run: place["run"] === "1" ? "" : (place["run"] ?? "") });
  return `/jobs/${part(id)}${view ? `/${view}` : ""}${query ? `?${query}` : ""}`;
}

export const draftHref = (id: string): string => `/jobs/new?${write({ draft: id })}`;

/** The bytes of a stored file. */
export const fileHref = (id: string): string => address(`files/${part(id)}/contents/`);

/** A zip of outputs, which is made while it is read. */
export const archiveHref = (job: string, archive: string): string =>
  address(`jobs/${part(job)}/archives/${part(archive)}/`);
