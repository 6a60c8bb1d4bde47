/** A job: what it does now, its log, its files, its definition, and how to do all that without this page. */

import { useEffect, useRef, useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { jobPath, runPath } from "../api/jobs";
import { changed } from "../api/queries";
import { gathered } from "../lib/events";
import { jobHref } from "../lib/hrefs";
import { usePlace, type Place } from "../lib/query";
import { Empty, Failure, Skeleton } from "../ui/parts";
import { useCrumbs } from "../ui/shell";
import { asked } from "./job/commands";
import { Commands } from "./job/commands-view";
import { FilesView } from "./job/files";
import { Header } from "./job/header";
import "./job/job.css";
import { useLive, useTold, type Live } from "./job/live";
import { LogView } from "./job/log";
import { useJob, useMainLog, useRun, useRuns, useStatuses } from "./job/model";
import { Overview } from "./job/overview";
import { Setup } from "./job/setup";
import { DEFAULT_LOG, isOver, standing } from "./job/standing";
import { isMissing } from "./job/uselog";

const VIEWS = [
  { name: "overview", label: "Overview" },
  { name: "log", label: "Log" },
  { name: "files", label: "Files" },
  { name: "setup", label: "Setup" },
  { name: "api", label: "API" },
];
const ROUND_MS = 250;

export default function Page({ params }: { params: Record<string, string | undefined> }) {
  const id = params["id"] ?? "";
  const view = params["view"] ?? "overview";
  const [place] = usePlace();
  const runId = /^\d{1,9}$/.test(place["run"] ?? "") ? place["run"]! : "1";
  const job = useJob(id);
  const history = useStatuses(id);
  const runs = useRuns(id);
  const count = runs.data?.count ?? 0;
  const run = useRun(id, runId, count > 0);
  const collecting = useEvents(id, runId);
  const now = standing(history.data?.results ?? []);
  const isAlive = Boolean(run.data && run.data.id === runId && run.data.dateStarted && !run.data.dateCompleted);
  const mainLog = useMainLog(id, runId, Boolean(run.data?.dateStarted), Boolean(run.data?.dateCompleted));
  const log = view === "log" ? place["path"] || DEFAULT_LOG : mainLog;
  const live = useLive(id, runId, log ?? "", isAlive && log !== null && (view === "overview" || view === "log"));
  useNewFiles(id, runId, live);
  const label = VIEWS.find((each) => each.name === view)?.label ?? view;
  const name = job.data?.name || id;
  const crumbs = view === "overview" ? [{ label: name }] : [{ label: name, href: jobHref(id) }, { label }];
  useCrumbs({ label: "Jobs", href: "/jobs" }, ...crumbs);

  const error = job.error ?? history.error ?? runs.error;
  if (error && (!job.data || isMissing(job.error))) {
    return (
      <>
        <h1 class="hidden-visually">Job {id}</h1>
        <Failure error={error} what="This job" again={() => changed(jobPath(id))} />
      </>
    );
  }
  if (!job.data || !history.data || !runs.data) return <Skeleton rows={8} />;
  const known = run.data?.id === runId ? run.data : undefined;
  const href = (name: string): string => {
    const log = name === "log" && mainLog !== DEFAULT_LOG ? (mainLog ?? "") : "";
    const shown: Place = name === "api" ? asked(place) : { path: log };
    return jobHref(id, name === "overview" ? "" : name, { run: runId, ...shown });
  };
  const isFull = view === "log" || view === "files";
  return (
    <div class={`page job-page ${isFull ? "page-full" : ""}`}>
      <Header
        job={job.data}
        run={known}
        runId={runId}
        count={count}
        now={now}
        live={live}
        isCollecting={collecting.isOn}
        stored={collecting.count}
      />
      <nav class="tabs" aria-label="Views of this job">
        {VIEWS.map((each) => (
          <Link
            key={each.name}
            href={href(each.name)}
            {...(each.name === view ? { "aria-current": "page" as const } : {})}
          >
            {each.label}
          </Link>
        ))}
      </nav>
      {run.error ? (
        <Failure error={run.error} what={`Run ${runId}`} again={() => changed(jobPath(id))} />
      ) : count > 0 && !known && view !== "setup" && view !== "api" ? (
        <Skeleton />
      ) : view === "overview" ? (
        <Overview
          job={job.data}
          run={known}
          runId={runId}
          now={now}
          history={history.data.results}
          live={live}
          log={mainLog}
        />
      ) : view === "log" ? (
        <LogView job={id} run={runId} live={live} isOver={isOver(known)} isDraft={count === 0} />
      ) : view === "files" ? (
        <FilesView key={runId} job={id} run={runId} isDraft={count === 0} isOver={isOver(known)} />
      ) : view === "setup" ? (
        <Setup job={job.data} />
      ) : view === "api" ? (
        <Commands job={job.data} run={runId} />
      ) : (
        <Empty title="There is no such view of a job">
          <Link href={jobHref(id)}>To the overview</Link>
        </Empty>
      )}
    </div>
  );
}

const SILENT_MS = 5_000;

/** Looks for another log to follow when the run has made files, or this one has fallen silent. */
function useNewFiles(id: string, run: string, live: Live | null): void {
  const seen = useRef({ files: -1, at: 0 });
  useTold(live, ({ name, data }) => {
    if (name === "log") seen.current.at = Date.now();
    if (name !== "metrics") return;
    const files = Number((data as { used: Record<string, number | null> }).used["files"]);
    if (files === seen.current.files && Date.now() - seen.current.at < SILENT_MS) return;
    seen.current = { files, at: Date.now() };
    changed(`${runPath(id, run)}tree/`);
  });
}

/** Fetches again what an event of this job names; tells whether the run's outputs are being stored. */
function useEvents(id: string, run: string): { isOn: boolean; count: number } {
  const [collecting, set] = useState({ isOn: false, count: 0 });
  useEffect(() => {
    set({ isOn: false, count: 0 });
    const hear = (name: string, data: Record<string, unknown>): boolean => {
      if ((data["job"] ?? data["id"]) !== id) return false; // a notice has the job as its id
      if (name === "run" && data["run"] === run) set({ isOn: data["state"] === "collecting", count: 0 });
      if (name === "files" && data["run"] === run) set((before) => ({ ...before, count: Number(data["count"]) }));
      return true;
    };
    return gathered(ROUND_MS, hear, () => changed(jobPath(id)));
  }, [id, run]);
  return collecting;
}
