/** What is done to the jobs that are selected: asked for once, and told as it went, one by one. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, newKey, part, type Query } from "../../api/client";
import { useGet } from "../../api/queries";
import type { JobRow, Schemas } from "../../api/types";
import { grouped } from "../../lib/format";
import { whyNot } from "../../lib/rights";
import { plural } from "../../lib/words";
import { Confirm } from "../../ui/dialog";
import { Download, Square, Tag, Trash2, X } from "../../ui/icons";
import { Banner, Button, Failure, Field, Skeleton } from "../../ui/parts";
import { toast } from "../../ui/toasts";
import { canStop, doTo, doToAll, tryAll, type Action, type Bulk, type Trial } from "./actions";

const NAMED_MOST = 10;
const DOWNLOADS_MOST = 10; // each has a connection of the browser while it lasts
const ZIPS = `The files of each job come as a zip of its own, of at most ${DOWNLOADS_MOST} jobs at once`;

/** Which jobs: these, or all that match. */
export type Target = { rows: JobRow[] } | { query: Query };
export type Asking = { action: Action; target: Target };

type ToolbarProps = {
  target: Target;
  count: number | null; // chosen; null: all that match, which nobody has counted
  all: number | null; // what could be chosen with one press; null: everything is
  zipped: readonly JobRow[] | null; // to be downloaded; null: more than are here
  onAll: () => void;
  onClear: () => void;
  ask: (action: Action) => void;
  download: () => void;
};

export function Toolbar({ target, count, all, zipped, onAll, onClear, ask, download }: ToolbarProps) {
  const no = whyNot();
  const rows = "rows" in target ? target.rows : null;
  const mine = rows === null || rows.some((row) => row.isMine) ? "" : "These jobs are somebody else's.";
  const stops = rows === null || rows.some(canStop) ? "" : "None of these is on its way.";
  const many = zipped && zipped.length <= DOWNLOADS_MOST ? "" : `Select fewer jobs. ${ZIPS}.`;
  const drafts = zipped?.some((row) => row.status) ? "" : "None of these was submitted.";
  return (
    <div role="toolbar" aria-label="With the selected jobs" class="row jobs-toolbar" tabIndex={-1} onKeyDown={arrows}>
      <strong aria-live="polite">{count === null ? "All that match" : `${grouped(count)} selected`}</strong>
      {all === null ? null : (
        <Button small kind="plain" onClick={onAll}>
          Select all {all > 0 ? grouped(all) : ""} that match
        </Button>
      )}
      <Button small icon={Square} why={no || mine || stops} onClick={() => ask("stop")}>
        Stop
      </Button>
      <Button small icon={Download} why={many || drafts} title={ZIPS} onClick={download}>
        Download
      </Button>
      <Button small icon={Tag} why={no || mine} onClick={() => ask("tag")}>
        Tag
      </Button>
      <Button small icon={Tag} why={no || mine} onClick={() => ask("untag")}>
        Untag
      </Button>
      <Button small kind="danger" icon={Trash2} why={no || mine} onClick={() => ask("delete")}>
        Delete
      </Button>
      <Button small kind="plain" icon={X} label="Clear the selection" onClick={onClear} />
    </div>
  );
}

/** In a toolbar the arrows move between the buttons. */
function arrows(event: KeyboardEvent): void {
  const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
  if (!step) return;
  const all = [...(event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("button")];
  const at = all.indexOf(document.activeElement as HTMLElement);
  all[(at + step + all.length) % all.length]?.focus();
  event.preventDefault();
  event.stopPropagation();
}

const VERBS: Record<Action, string> = { stop: "Stop", delete: "Delete", tag: "Tag", untag: "Take tags from" };
const DONE: Record<Action, string> = { stop: "told to stop", delete: "deleted", tag: "tagged", untag: "untagged" };

type DialogProps = Asking & { knownTags: string[]; onDone: (done: Bulk, rows: JobRow[]) => void; onClose: () => void };

export function ActionDialog({ action, target, knownTags, onDone, onClose }: DialogProps) {
  const once = useRef(newKey());
  const [typed, type] = useState("");
  const [trial, tried] = useState<Trial | null>(null);
  const [error, fail] = useState<unknown>(null);
  const [tries, again] = useState(0);
  const query = "query" in target ? target.query : null;
  const needsTags = action === "tag" || action === "untag";
  const tags = typed.split(",").map((tag) => tag.trim()).filter(Boolean);

  // Tags that are not typed yet do not change how many it would be.
  const count = (): Promise<Trial> => tryAll(action, query!, needsTags ? ["x"] : []);
  useEffect(() => {
    if (!query) return;
    let isOver = false;
    fail(null);
    count().then((reply) => isOver || tried(reply), (problem: unknown) => isOver || fail(problem));
    return () => {
      isOver = true;
    };
  }, [tries]);

  const rows = "rows" in target ? chosenFor(action, target.rows) : [];
  const left = "rows" in target ? target.rows.length - rows.length : 0;
  const total = query ? trial?.count : rows.length;
  const names = query ? (trial?.sample ?? []) : rows;
  const what =
    total === undefined ? "all that match" : total === 1 && names[0] ? names[0].name : `${grouped(total)} jobs`;

  const confirm = async (): Promise<void> => {
    if (needsTags && !tags.length) throw new Error("Type a tag.");
    if (!query) {
      onDone(await doTo(action, rows.map((row) => row.id), once.current, tags), rows);
      return;
    }
    if (!trial) throw new Error("They are being counted.");
    try {
      onDone(await doToAll(action, query, trial.count, once.current, tags), []);
    } catch (problem) {
      if (!(problem instanceof ApiError) || problem.status !== 409) throw problem;
      once.current = newKey();
      const now = await count();
      tried(now);
      throw new Error(`Meanwhile ${grouped(now.count)} match. Nothing was done: look again, and confirm.`, {
        cause: problem,
      });
    }
  };

  return (
    <Confirm
      title={`${VERBS[action]} ${what}?`}
      verb={
        total === undefined ? VERBS[action] : `${VERBS[action]} ${total === 1 ? "the job" : `${grouped(total)} jobs`}`
      }
      isDanger={action === "delete" || action === "stop"}
      onConfirm={confirm}
      onClose={onClose}
    >
      {error ? <Failure error={error} what="How many match" again={() => again(tries + 1)} /> : null}
      {query && !trial && !error ? <Skeleton rows={3} /> : null}
      {names.length ? (
        <ul class="jobs-names">
          {names.slice(0, NAMED_MOST).map((job) => (
            <li key={job.id} class="ellipsis">
              <bdi>{job.name || "Untitled"}</bdi> <span class="quiet">{job.status || "Draft"}</span>
            </li>
          ))}
          {total !== undefined && total > NAMED_MOST ? (
            <li class="quiet">and {grouped(total - NAMED_MOST)} more</li>
          ) : null}
        </ul>
      ) : null}
      {left ? (
        <p class="quiet">
          {left} of the selected are left out: {action === "stop" ? "not on their way, or not yours." : "not yours."}
        </p>
      ) : null}
      {action === "stop" ? (
        <p>What they have written until then is kept. Jobs that have not begun do not begin.</p>
      ) : null}
      {action === "delete" ? (
        <p>
          Their outputs are deleted with them, for everybody, for good. Input files stay. What still runs is not
          deleted: stop it first.
        </p>
      ) : null}
      {needsTags ? (
        <Field label="Tags" name="bulk-tags" hint="Several are separated by commas.">
          {(props) => (
            <>
              <input
                {...props}
                class="input"
                list="jobs-known-tags"
                value={typed}
                onInput={(event) => type(event.currentTarget.value)}
              />
              <datalist id="jobs-known-tags">
                {knownTags.map((tag) => (
                  <option key={tag} value={tag}>
                    {tag}
                  </option>
                ))}
              </datalist>
            </>
          )}
        </Field>
      ) : null}
    </Confirm>
  );
}

/** Those that it can be done to. */
function chosenFor(action: Action, rows: JobRow[]): JobRow[] {
  return rows.filter(action === "stop" ? canStop : (row) => row.isMine);
}

/** What is told when it is over: shortly where all went well, else each that did not. */
export function tellDone(done: Bulk): void {
  if (!done.isDone || done.failed) return;
  toast(`${grouped(done.done)} ${plural(done.done, "job")} ${DONE[done.action]}.`, "good");
}

type ReportProps = { done: Bulk; rows: JobRow[]; onOver: () => void; onClose: () => void };

/** How an action goes on in the background, and what it could not do. */
export function Report({ done, rows, onOver, onClose }: ReportProps) {
  const [isOver, over] = useState(done.isDone);
  const task = useGet<Omit<Schemas["Task"], "result"> & { result: Bulk[] }>(`tasks/${part(done.task ?? "")}/`, {}, {
    enabled: !isOver && Boolean(done.task),
    every: isOver ? 0 : 1000, // no event tells how far it is
    stale: 0,
  });
  const now = task.data?.result[0] ?? done;
  const isReady = task.data?.ready ?? false;
  useEffect(() => {
    if (!isReady || isOver) return;
    over(true);
    onOver();
    tellDone(now);
  }, [isReady]);
  const failed = now.results.filter((result) => !result.ok);
  const name = (id: string): string => rows.find((row) => row.id === id)?.name || id;
  const close = <Button small kind="plain" icon={X} label="Close" onClick={onClose} />;
  if (!isOver) {
    return (
      <Banner tone="running">
        {VERBS[now.action]}: {grouped(now.done)} of {grouped(now.count)} jobs
        {now.failed ? `, ${grouped(now.failed)} could not be` : ""}. It goes on if you leave.
      </Banner>
    );
  }
  if (!now.failed) return null;
  return (
    <Banner tone="warning" tools={close}>
      {grouped(now.done - now.failed)} of {grouped(now.done)} jobs {DONE[now.action]}, {grouped(now.failed)} not:
      <ul class="jobs-names">
        {failed.slice(0, NAMED_MOST).map((result) => (
          <li key={result.id}>
            <bdi>{name(result.id)}</bdi>: {result.detail}
          </li>
        ))}
        {now.failed > NAMED_MOST ? <li>and {grouped(now.failed - NAMED_MOST)} more</li> : null}
      </ul>
    </Banner>
  );
}
