/** All jobs that one sees: which run and how far, what went wrong, when one's own will start. */

import { useSignalEffect } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Link, Redirect, useLocation } from "wouter-preact";
import { ApiError } from "../api/client";
import { copyOf, runAgain } from "../api/jobs";
import { changed, useGet } from "../api/queries";
import type { JobRow, Schemas } from "../api/types";
import { connection, gathered, onProgress } from "../lib/events";
import { grouped, isUtc, serverNow } from "../lib/format";
import { draftHref, jobHref } from "../lib/hrefs";
import { useKeys } from "../lib/keys";
import { PHONE, useMedia } from "../lib/media";
import { usePlace, write, type Place } from "../lib/query";
import { whyNot } from "../lib/rights";
import { messageOf, plural } from "../lib/words";
import { Copy, Download, FolderOpen, Play, Plus, RefreshCw, Square, Tag, Trash2, X } from "../ui/icons";
import type { Item } from "../ui/menu";
import { Button, Empty, Failure, Skeleton } from "../ui/parts";
import { useCrumbs } from "../ui/shell";
import { toast } from "../ui/toasts";
import { archiveOf, canStop, type Action, type Bulk } from "./jobs/actions";
import { Bar, cleared } from "./jobs/bar";
import { ActionDialog, Report, Toolbar, tellDone, type Asking, type Target } from "./jobs/bulk";
import { Feed } from "./jobs/feed";
import { OLDEST_FIRST, asked, isCounted, isNarrowed } from "./jobs/filters";
import { Grid, type GridHandle } from "./jobs/grid";
import "./jobs/jobs.css";
import { Selection } from "./jobs/selection";
import { SparkBook } from "./jobs/sparks";

const COUNTS_MS = 2_000; // counts are fetched again so often at most
const MACHINE_MS = 15_000; // no event tells of the jobs of others

export default function Jobs() {
  useCrumbs({ label: "Jobs" });
  const [place, change] = usePlace();
  const [, go] = useLocation();
  const feed = useMemo(() => new Feed(), []);
  const sparks = useMemo(() => new SparkBook(feed), []);
  const [selection, choose] = useState(Selection.none);
  const [asking, ask] = useState<Asking | null>(null);
  const [reports, report] = useState<{ id: number; done: Bulk; rows: JobRow[] }[]>([]);
  const grid = useRef<GridHandle | null>(null);
  const isPhone = useMedia(PHONE);
  const tick = feed.tick.value;
  const book = feed.book;
  const isThere = book !== null;
  const [isSeen, seen] = useState(false);

  // What is asked for is worked out once for an address: "today" does not move while one looks.
  const view = write({ ...place, view: "" });
  const query = useMemo(() => asked(place, serverNow(), isUtc.value), [view, isUtc.value]);
  useEffect(() => {
    choose(Selection.none);
    grid.current?.toTop();
    feed.ask({ query, isCounted: isCounted(place), isNewestFirst: place["sort"] !== OLDEST_FIRST });
  }, [query]);
  useEffect(() => () => {
    feed.stop();
    sparks.stop();
  }, []);

  // The first rows come before anything that can wait.
  const facets = useGet<Schemas["JobFacets"]>("jobs/facets/", {}, { enabled: isSeen, keep: true });
  const machine = useGet<Schemas["MachineNow"]>("machine/", {}, { enabled: isSeen, keep: true, every: MACHINE_MS });
  useEvents(feed);
  useSignalEffect(() => {
    if (connection.value === "open") feed.retry();
  });
  useEffect(() => {
    if (!isThere) return;
    // A frame later they are painted.
    requestAnimationFrame(() =>
      setTimeout(() => {
        performance.mark("jobs-visible");
        seen(true);
      }),
    );
  }, [isThere]);
  useEffect(() => {
    // Nothing is moved by what comes into an empty list.
    if (book && !book.size && feed.fresh.size && !feed.isOld) feed.reload();
  }, [tick]);

  const reload = (): void => {
    choose(Selection.none);
    grid.current?.toTop();
    feed.reload();
    changed("jobs/");
  };
  const chooseAll = (): void => {
    if (!book) return;
    const rows = book.rows();
    choose(book.count === rows.length && book.isExact ? Selection.of(rows.map((row) => row.id)) : Selection.all());
  };
  const chosen = selection.isAll ? [] : (book?.rows() ?? []).filter((row) => selection.has(row.id));
  const zipped = selection.isAll ? (book && book.rows().length === book.count ? book.rows() : null) : chosen;
  const target: Target = selection.isAll ? { query } : { rows: chosen };
  const chosenOr = (row: JobRow): Target => (selection.isEmpty ? { rows: [row] } : target);
  const no = whyNot();

  const attempt = (work: () => Promise<void>): void => {
    work().catch((error: unknown) => toast(messageOf(error), "bad"));
  };
  const again = (row: JobRow): void =>
    attempt(async () => {
      const done = await runAgain(row.id);
      if ("job" in done) {
        const open = { label: "Open", run: () => go(jobHref(done.job)) };
        toast(`${row.name || "Untitled"} runs again.`, "good", open);
        return;
      }
      toast(`It was not started: ${done.why}`, "bad");
      go(draftHref(done.draft));
    });
  const edit = (row: JobRow): void =>
    attempt(async () => go(draftHref((await copyOf(row.id)).id)));
  /** A zip for each, begun one after the other. Those that have none are named. */
  const download = async (rows: readonly JobRow[]): Promise<void> => {
    const failed: string[] = [];
    for (const row of rows) {
      try {
        if (notRun(row)) throw new Error(notRun(row));
        const link = document.createElement("a");
        link.href = await archiveOf(row.id);
        link.download = "";
        link.click();
      } catch (error) {
        failed.push(`${row.name || "Untitled"}: ${messageOf(error)}`);
      }
    }
    if (failed.length) toast(failed.join(" "), "bad");
  };
  const open = (row: JobRow): void => go(jobHref(row.id));

  const acts = { open, again, edit, download, ask, no };
  const newest = useRef(acts);
  newest.current = acts;
  const items = useMemo(() => itemsOf(newest), []);

  // Between a choice and its first rows the list is still that of before.
  const isCurrent = feed.asked.query === query && !feed.isOld;
  const isBare = !Object.values(place).some(Boolean);
  if (isCurrent && book?.count === 0 && isBare && !feed.error) return <Redirect to="/welcome" replace />;
  return (
    <div class="page-full jobs">
      <div class="row spread jobs-top">
        <h1>Jobs</h1>
        <Link href="/jobs/new" class="button primary">
          <Plus size={16} class="icon" />
          New job
        </Link>
      </div>
      <Bar place={place} change={change} facets={facets.data} isPhone={isPhone} />
      <div class="row jobs-strip">
        {selection.isEmpty ? (
          <Strip place={place} feed={feed} machine={machine.data} clear={() => change(cleared())} />
        ) : (
          <Toolbar
            target={target}
            count={selection.isAll ? (book?.isExact ? book.count : null) : chosen.length}
            all={selection.isAll || !book || chosen.length === book.count ? null : book.isExact ? (book.count ?? 0) : 0}
            zipped={zipped}
            onAll={() => choose(Selection.all())}
            onClear={() => choose(Selection.none)}
            ask={(action) => ask({ action, target })}
            download={() => void download(zipped ?? [])}
          />
        )}
        <News feed={feed} reload={reload} />
      </div>
      {reports.map((each) => (
        <Report
          key={each.id}
          done={each.done}
          rows={each.rows}
          onOver={() => {
            feed.heard("reset", {});
            changed("jobs/");
          }}
          onClose={() => report(reports.filter((other) => other !== each))}
        />
      ))}
      {feed.error ? (
        <Failure error={feed.error} what="The jobs" {...(isRefused(feed.error) ? {} : { again: () => feed.retry() })} />
      ) : null}
      {!book ? (
        feed.error ? null : (
          <Skeleton rows={12} />
        )
      ) : book.size ? (
        <Grid
          feed={feed}
          sparks={sparks}
          selection={selection}
          choose={choose}
          chooseAll={chooseAll}
          onMissing={(n) => toast(`${grouped(n)} rows between are not loaded and were left out.`)}
          no={no}
          items={items}
          open={open}
          keys={[
            { keys: "o", label: "Log of the job", run: (row) => go(jobHref(row.id, "log")) },
            { keys: "f", label: "Files of the job", run: (row) => go(jobHref(row.id, "files")) },
            { keys: "r", label: "Run the job again", run: (row) => unless(no || notRun(row), () => again(row)) },
            {
              keys: "s",
              label: "Stop",
              run: (row) => unless(no, () => ask({ action: "stop", target: chosenOr(row) })),
            },
            { keys: "d", label: "Download", run: (row) => unless(notRun(row), () => void download([row])) },
          ]}
          handle={grid}
        />
      ) : feed.error || !isCurrent ? null : (
        <Nothing isNarrow={isNarrowed(place)} clear={() => change(cleared())} />
      )}
      {asking ? (
        <ActionDialog
          {...asking}
          knownTags={(facets.data?.tag ?? []).map((tag) => tag.value)}
          onDone={(done, rows) => {
            tellDone(done);
            feed.touch(rows.map((row) => row.id));
            choose(Selection.none);
            if (!done.isDone || done.failed) report([...reports, { id: Date.now(), done, rows }]);
          }}
          onClose={() => ask(null)}
        />
      ) : null}
      <Escape when={!selection.isEmpty} run={() => choose(Selection.none)} />
    </div>
  );
}

type Acts = {
  open: (row: JobRow) => void;
  again: (row: JobRow) => void;
  edit: (row: JobRow) => void;
  download: (rows: readonly JobRow[]) => Promise<void>;
  ask: (asking: Asking) => void;
  no: string;
};

const itemsOf =
  (acts: { current: Acts }) =>
  (row: JobRow): Item[] => {
    const { open, again, edit, download, ask, no } = acts.current;
    const mine = row.isMine ? "" : "It is somebody else's.";
    const asks = (action: Action) => () => ask({ action, target: { rows: [row] } });
    return [
      { label: "Open", icon: FolderOpen, run: () => open(row) },
      { label: "Run again", icon: Play, run: () => again(row), why: no || notRun(row) },
      { label: "Edit a copy", icon: Copy, run: () => edit(row), why: no },
      { label: "Download", icon: Download, run: () => void download([row]), why: notRun(row) },
      { label: "Tag", icon: Tag, run: asks("tag"), why: no || mine },
      {
        label: "Stop",
        icon: Square,
        run: asks("stop"),
        why: no || mine || (canStop(row) ? "" : "It is not on its way."),
      },
      { label: "Delete", icon: Trash2, run: asks("delete"), why: no || mine },
    ];
  };

/** Whether asking again would not help: a filter is wrong, and can be cleared. */
const isRefused = (error: unknown): boolean => error instanceof ApiError && error.status === 400;

const notRun = (row: JobRow): string => (row.status ? "" : "It is a draft: it has not run.");

/** For keys, which have no button to say why not. */
function unless(why: string, run: () => void): void {
  if (why) toast(why, "bad");
  else run();
}

/** Events bring rows up to date, and counts now and then. */
function useEvents(feed: Feed): void {
  useEffect(() => {
    const hear = (name: string, data: Record<string, unknown>): boolean => {
      feed.heard(name, data);
      return ["job", "run", "study", "notice"].includes(name);
    };
    const stop = gathered(COUNTS_MS, hear, () => {
      changed("jobs/facets/");
      changed("machine/");
    });
    const seen = (): void => {
      if (document.visibilityState === "visible") feed.seen();
    };
    document.addEventListener("visibilitychange", seen);
    const deaf = onProgress((progress) => feed.progressed(progress));
    return () => {
      stop();
      deaf();
      document.removeEventListener("visibilitychange", seen);
    };
  }, [feed]);
}

type StripProps = { place: Place; feed: Feed; machine: Schemas["MachineNow"] | undefined; clear: () => void };

function Strip({ place, feed, machine, clear }: StripProps) {
  const { count, isExact } = feed.book ?? { count: null, isExact: true };
  const verb = isNarrowed(place) ? (count === 1 ? " matches" : " match") : "";
  const counted = feed.error
    ? ""
    : count === null || feed.isOld
      ? "Looking"
      : count || isExact
        ? `${isExact ? "" : "At least "}${grouped(count)} ${plural(count, "job")}${verb}`
        : "None found yet";
  return (
    <div class="quiet row grow jobs-counts">
      <span>{counted}</span>
      {isNarrowed(place) && (feed.error || feed.book?.size) ? (
        <Button small icon={X} onClick={clear}>
          Clear filters
        </Button>
      ) : null}
      {machine ? (
        <span
          title={`${machine.running} runs execute${machine.planned ? `, ${machine.planned} of studies wait for their turn` : ""}`}
        >
          {machine.busy} of {machine.cores} cores busy, {grouped(machine.queued)} queued
        </span>
      ) : null}
    </div>
  );
}

/** What changed and is not shown, because rows do not move by themselves. */
function News({ feed, reload }: { feed: Feed; reload: () => void }) {
  const { fresh, gone, away } = feed;
  const parts = [
    fresh.size ? `${grouped(fresh.size)} new ${plural(fresh.size, "job")}` : "",
    gone.size ? `${grouped(gone.size)} gone` : "",
    away.size ? `${grouped(away.size)} no longer match` : "",
  ].filter(Boolean);
  return (
    <span role="status">
      {parts.length ? (
        <Button small class="jobs-news" icon={RefreshCw} onClick={reload}>
          {parts.join(", ")}
        </Button>
      ) : null}
    </span>
  );
}

function Nothing({ isNarrow, clear }: { isNarrow: boolean; clear: () => void }) {
  if (isNarrow) {
    return (
      <Empty title="No job matches">
        <p>There are jobs, but none that fits all of the filters.</p>
        <Button onClick={clear}>Clear filters</Button>
      </Empty>
    );
  }
  return (
    <Empty title="No jobs yet">
      <p>What you submit, here or by the API, and what others share with you is listed here.</p>
      <Link href="/welcome" class="button primary">
        First minutes
      </Link>
    </Empty>
  );
}

function Escape({ when, run }: { when: boolean; run: () => void }) {
  useKeys([{ keys: "Escape", label: "Clear the selection", group: "Jobs", run, isHidden: true }], when);
  return null;
}
