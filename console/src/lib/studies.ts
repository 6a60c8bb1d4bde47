/** How far a study is, as lists of jobs tell it. */

import type { JobRow } from "../api/types";
import { number } from "./format";

/** What is said of a job whose runs are all good. */
export const WELL = "Completed successfully";

type Far = { share: number | null; text: string };

/**
 * The share of the bar, and words. Runs that were stopped are at their end too, but not done: where there are too many
 * runs to count those that are, nothing is said of a study at its end but its reason.
 */
export function farOf({ study, status, reason }: Pick<JobRow, "study" | "status" | "reason">): Far {
  if (!study?.total) return { share: null, text: "" };
  const { total, ended, failed } = study;
  const isOver = status === "Completed";
  const done = study.done ?? (isOver && reason === WELL ? total : null);
  const of = `of ${number(total)}`;
  if (done !== null) return { share: done / total, text: `${number(done)} ${of} done${failed ? `, ${number(failed)} failed` : ""}` };
  return isOver ? { share: null, text: `${number(total)} runs` } : { share: ended / total, text: `${number(ended)} ${of} ended` };
}

/** Why a study ended as it did, where that is not well. */
export const reasonOf = ({ status, reason }: Pick<JobRow, "status" | "reason">): string =>
  status === "Completed" && reason !== WELL ? (reason ?? "") : "";
