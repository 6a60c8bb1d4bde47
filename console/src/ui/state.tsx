/** The state of a job or run: never by colour alone, and of what is over never without its outcome. */

import type { Outcome } from "../api/types";
import { WELL } from "../lib/studies";
import { capital } from "../lib/words";
import { Ban, CircleCheck, CircleDashed, CirclePlay, Clock, OctagonX, Square, TriangleAlert } from "./icons";

export type Tone = "draft" | "waiting" | "running" | "warning" | "good" | "bad";

const FAILED = "A run failed:"; // how the reason begins where no run is good

const WORDS: Record<string, Tone> = {
  "": "draft",
  Pending: "waiting",
  Queued: "waiting",
  "Waiting for Queue": "waiting",
  "Waiting for Cluster": "waiting",
  Started: "running",
  Validated: "running",
  Executing: "running",
  Stopping: "warning",
};

/** How a job or run ended, as far as its badge says it. */
type Ending = Pick<Outcome, "verdict" | "isGood">;

export type Shown = { word: string; tone: Tone; icon: typeof Ban };

/** `status` is the newest word of the job, "" for a draft; `reason` its statusReason. */
export function shownState(status: string, outcome?: Ending | null, reason?: string | null): Shown {
  if (status !== "Completed") {
    const tone = WORDS[status] ?? "draft";
    const icon =
      tone === "draft" ? CircleDashed : tone === "waiting" ? Clock : tone === "warning" ? TriangleAlert : CirclePlay;
    return { word: status || "Draft", tone, icon };
  }
  const verdict = outcome?.verdict;
  if (verdict === "stopped" || (!outcome && reason?.startsWith("Stopped")))
    return { word: "Stopped", tone: "draft", icon: Square };
  if (outcome ? outcome.isGood : reason === WELL)
    return { word: "Completed", tone: "good", icon: CircleCheck };
  if (verdict === "suspect") return { word: "Suspect", tone: "warning", icon: TriangleAlert };
  if (!outcome && reason?.startsWith(FAILED)) return { word: "Failed", tone: "bad", icon: OctagonX };
  if (!verdict)
    return { word: reason ? "Ended" : "Completed", tone: reason ? "bad" : "draft", icon: reason ? OctagonX : Square };
  return { word: capital(verdict), tone: "bad", icon: OctagonX };
}

export function State({
  status,
  outcome,
  reason,
}: {
  status: string;
  outcome?: Ending | null;
  reason?: string | null;
}) {
  const { word, tone, icon: Icon } = shownState(status, outcome, reason);
  return (
    <span class={`badge tone-${tone}`} title={reason ?? ""}>
      <Icon size={14} class="icon" />
      {word}
    </span>
  );
}
