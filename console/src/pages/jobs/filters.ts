/** What the list is narrowed to: as the address has it, as the server is asked, and of a single row. */

import type { Query } from "../../api/client";
import type { JobRow } from "../../api/types";
import { list, type Place } from "../../lib/query";

export const FILTERS = ["status", "outcome", "q", "tag", "analysis", "owner", "since"] as const;
export type Filter = (typeof FILTERS)[number];

export const OLDEST_FIRST = "insertedAt";

const DAY_MS = 86_400_000;
const BAD = ["NOT_CONVERGED", "DIVERGED", "INCOMPLETE", "SUSPECT", "FAILED"];
const GOOD = ["COMPLETED", "STOPPED"];

export const isNarrowed = (place: Place): boolean => FILTERS.some((name) => place[name]);

/** Whether there are places in it that can be jumped to: only of lists by status, and not of drafts alone. */
export const isCounted = (place: Place): boolean =>
  FILTERS.every((name) => name === "status" || !place[name]) && !list(place["status"]).includes("DRAFT");

/** The parameters of jobs/rows/ and of a bulk action's query. */
export function asked(place: Place, now: number, isUtc: boolean): Query {
  const query: Record<string, string> = {};
  for (const name of FILTERS) if (place[name]) query[name] = place[name];
  if (query["since"]) query["since"] = sinceWhen(query["since"], now, isUtc);
  if (place["sort"] === OLDEST_FIRST) query["sort"] = OLDEST_FIRST;
  return query;
}

/**
 * "today", "yesterday", "7d" begin at midnight, that of the clock that is shown; a day too. What is no
 * day is sent as it is.
 */
export function sinceWhen(text: string, now: number, isUtc: boolean): string {
  const days = text === "today" ? 0 : text === "yesterday" ? 1 : /^\d{1,4}d$/.test(text) ? parseInt(text, 10) : null;
  if (days !== null) return midnight(new Date(now), days, isUtc).toISOString();
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return text;
  const at = new Date(isUtc ? `${text}T00:00:00Z` : `${text}T00:00:00`);
  return Number.isNaN(at.getTime()) ? text : at.toISOString();
}

function midnight(now: Date, daysAgo: number, isUtc: boolean): Date {
  if (isUtc) return new Date(Math.floor(now.getTime() / DAY_MS) * DAY_MS - daysAgo * DAY_MS);
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - daysAgo);
}

/** What a filter calls a status or verdict: "not converged" is NOT_CONVERGED. */
export const valueOf = (word: string): string => word.toUpperCase().replaceAll(" ", "_") || "DRAFT";

/** Whether a row is one of those that are asked for, as the server would say. */
export function matches(row: JobRow, query: Query): boolean {
  const some = (name: Filter, fits: (value: string) => boolean): boolean => {
    const values = list(query[name] as string | undefined);
    return !values.length || values.some(fits);
  };
  const status = valueOf(row.status);
  const verdict = row.outcome ? valueOf(row.outcome.verdict) : "";
  const tags = row.tags.map((tag) => tag.toLowerCase());
  const email = row.owner.email.toLowerCase();
  const text = String(query["q"] ?? "").toLowerCase();
  const since = query["since"] ? new Date(String(query["since"])).getTime() : null;
  return (
    some("status", (v) => isStatus(valueOf(v), status)) &&
    some("outcome", (v) => isOutcome(valueOf(v), verdict)) &&
    some("tag", (v) => tags.includes(v.trim().toLowerCase())) &&
    some("analysis", (v) => row.analyses.some((analysis) => analysis.code === v || analysis.name === v)) &&
    some("owner", (v) => (v === "me" ? row.isMine : v === "shared" ? !row.isMine : v.toLowerCase() === email)) &&
    (!text || row.name.toLowerCase().includes(text)) &&
    (since === null || new Date(row.insertedAt).getTime() >= since)
  );
}

const isStatus = (wanted: string, status: string): boolean =>
  wanted === status || (wanted === "ACTIVE" && status !== "DRAFT" && status !== "COMPLETED");

const isOutcome = (wanted: string, verdict: string): boolean =>
  wanted === verdict || (wanted === "GOOD" && GOOD.includes(verdict)) || (wanted === "BAD" && BAD.includes(verdict));
