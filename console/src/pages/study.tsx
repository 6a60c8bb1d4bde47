/** A study: which point is best, which failed, and how one column goes with another. */

import { Fragment } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Link, useLocation } from "wouter-preact";
import { boot } from "../api/boot";
import { address, api, ApiError, newKey } from "../api/client";
import { jobPath } from "../api/jobs";
import { changed, useGet } from "../api/queries";
import type { Job, Page, Schemas } from "../api/types";
import { gathered } from "../lib/events";
import { duration, number } from "../lib/format";
import { jobHref } from "../lib/hrefs";
import { usePlace } from "../lib/query";
import { whyNot } from "../lib/rights";
import { WELL } from "../lib/studies";
import { plural } from "../lib/words";
import { Confirm } from "../ui/dialog";
import { CircleCheck, CircleDashed, CirclePlay, Clock, Download, OctagonX, RotateCcw, Square, Star } from "../ui/icons";
import { Menu } from "../ui/menu";
import { Banner, Button, Choice, Empty, Failure, Field, Num, Panel, Skeleton } from "../ui/parts";
import { useCrumbs } from "../ui/shell";
import { State, shownState } from "../ui/state";
import { toast } from "../ui/toasts";
import { Window } from "../ui/window";
import { useStatuses } from "./job/model";
import { standing, type Now } from "./job/standing";
import { merged, sorted, valueOf, type Columns, type Run, type Value } from "./study/data";
import { Scatter } from "./study/scatter";
import "./study/study.css";

type Summary = Schemas["StudySummary"];
type Column = { key: string; label: string; isNumber: boolean };

const ROW = 32;
const GATHER_MS = 500; // between two looks at what changed
const PAGE = 2000;
const BEST_SHOWN = 12;
const INPUTS_SHOWN = 6;

const STATES = [
  ["done", "good", CircleCheck],
  ["failed", "bad", OctagonX],
  ["running", "running", CirclePlay],
  ["waiting", "waiting", Clock],
  ["planned", "draft", CircleDashed],
  ["stopped", "draft", Square],
] as const;

export default function Study({ params }: { params: Record<string, string | undefined> }) {
  const id = params["id"]!;
  const job = useGet<Job>(jobPath(id));
  const summary = useGet<Summary>(`${jobPath(id)}study/`);
  const history = useStatuses(id);
  const { runs, error, again } = useRuns(id);
  useCrumbs({ label: "Studies", href: "/studies" }, { label: job.data?.name ?? id });
  useEffect(() => {
    const look = (): void => ["study/", "statuses/"].forEach((path) => changed(`${jobPath(id)}${path}`));
    return gathered(GATHER_MS, concerns(id), look);
  }, [id]);
  const problem = job.error ?? summary.error ?? error;
  if (problem && !summary.data) {
    return problem instanceof ApiError && problem.status === 400 ? (
      <div class="empty">
        <h1>This job is no study</h1>
        <Link href={jobHref(id)}>Look at the job</Link>
      </div>
    ) : (
      <Failure
        error={problem}
        what="This study"
        again={() => {
          void summary.refetch();
          again();
        }}
      />
    );
  }
  if (!summary.data || !runs) return <Skeleton rows={8} />;
  const now = standing(history.data?.results ?? []);
  return (
    <div class="page stack">
      <div class="row spread">
        <div class="row study-name">
          <h1 class="ellipsis">
            <bdi>{job.data?.name ?? id}</bdi>
          </h1>
          {history.data ? <State status={now.status} reason={now.reason} /> : null}
        </div>
        <Actions id={id} summary={summary.data} />
      </div>
      <Reason now={now} />
      <Counts summary={summary.data} />
      <Best id={id} summary={summary.data} />
      {error ? <Failure error={error} what="The newest runs" again={again} /> : null}
      <Views id={id} summary={summary.data} runs={runs} />
    </div>
  );
}

/** Why it ended as it did, where that is not well; before, what it waits for. */
function Reason({ now: { status, reason, isOver } }: { now: Now }) {
  if (!reason || reason === WELL) return null;
  if (!isOver) return <p class="quiet">{reason}</p>;
  const { tone } = shownState(status, null, reason);
  return <Banner tone={tone}>{reason}</Banner>;
}

/** The best run with its values, or the numbers of several. */
function Best({ id, summary: { best, bestCount, variables, counts, isOpen } }: { id: string; summary: Summary }) {
  const link = (run: string) => <Link href={jobHref(id, "", { run })}>{run}</Link>;
  const [first] = best;
  if (!first) return null;
  const soFar = isOpen || counts.planned + counts.waiting + counts.running ? " so far" : "";
  const values = (of: Record<string, Value>, names: string[]): string =>
    names.map((name) => `${name} ${number(of[name])}`).join(", ");
  const goals = variables.filter((each) => each.role === "Objective" && each.name in first.outputs);
  const inputs = Object.keys(first.inputs);
  const more = inputs.length - INPUTS_SHOWN;
  return (
    <p class="row">
      <Star size={16} class="icon" />
      {bestCount === 1 ? (
        <span>
          Best run{soFar}: {link(first.id)} with {values(first.outputs, goals.map((each) => each.name))}
          {inputs.length ? ` at ${values(first.inputs, inputs.slice(0, INPUTS_SHOWN))}` : ""}
          {more > 0 ? ` and ${more} more` : ""}
        </span>
      ) : (
        <span>
          {number(bestCount)} best runs{soFar}
          {goals.length > 1 ? ", none worse than another in every objective" : ""}:{" "}
          {best.slice(0, BEST_SHOWN).map((run, n) => (
            <Fragment key={run.id}>
              {n ? ", " : ""}
              {link(run.id)}
            </Fragment>
          ))}
          {bestCount > BEST_SHOWN ? ` and ${number(bestCount - BEST_SHOWN)} more` : ""}
        </span>
      )}
    </p>
  );
}

/** Whether an event is about this study, or about what was missed. */
const concerns =
  (id: string) =>
  (name: string, data: Record<string, unknown>): boolean =>
    name === "reset" || data["job"] === id || data["id"] === id;

/** The runs, kept up to date by what changed since. */
function useRuns(id: string): { runs: Run[] | null; error: unknown; again: () => void } {
  const [runs, set] = useState<Run[] | null>(null);
  const [error, fail] = useState<unknown>(null);
  const [turn, again] = useState(0);
  useEffect(() => {
    let known = new Map<string, Run>();
    let version = "";
    const over = new AbortController();
    const look = async (): Promise<void> => {
      try {
        const reply = await api<Columns>("GET", `${jobPath(id)}study/columns/`, {
          query: { since: version },
          signal: over.signal,
        });
        known = merged(known, reply);
        version = reply.version;
        set([...known.values()].toSorted((a, b) => Number(a.id) - Number(b.id)));
        fail(null);
      } catch (problem) {
        if (!over.signal.aborted) fail(problem);
      }
    };
    const first = look();
    const stop = gathered(GATHER_MS, concerns(id), () => first.then(look));
    return () => {
      over.abort();
      stop();
    };
  }, [id, turn]);
  return { runs, error, again: () => again((n) => n + 1) };
}

function Counts({ summary }: { summary: Summary }) {
  const { counts, total } = summary;
  const share = (name: Run["status"]): string => `${(counts[name] / Math.max(1, total)) * 100}%`;
  return (
    <section class="stack-small" aria-label="Runs by state">
      <div class="study-counts" aria-hidden="true">
        {(["done", "failed", "stopped", "running"] as const).map((name) => (
          <span key={name} class={`is-${name}`} style={{ width: share(name) }} />
        ))}
      </div>
      <div class="row quiet" role="status">
        {STATES.filter(([name]) => counts[name]).map(([name]) => (
          <span key={name}>
            {counts[name]} {name}
          </span>
        ))}
        <span>of {total} runs</span>
        <span>{summary.slots} at a time</span>
        {summary.optimizer ? <span>optimizer {summary.optimizer}</span> : null}
        {summary.design ? <span>design {summary.design}</span> : null}
        {summary.isOpen ? (
          <span>more runs come</span>
        ) : summary.closedBecause ? (
          <span>{summary.closedBecause}</span>
        ) : null}
      </div>
    </section>
  );
}

function Actions({ id, summary }: { id: string; summary: Summary }) {
  const [isAsking, ask] = useState(false);
  const [place] = usePlace();
  const failed = summary.counts.failed;
  const { filter = "", status = "" } = place;
  const isState = status ? `status = "${status}"` : "";
  const shown = filter && isState ? `(${filter}) and ${isState}` : filter || isState;
  const file = (format: string): string => address(`${jobPath(id)}study/export/`, { format, filter: shown });
  return (
    <div class="row">
      <Link class="button" href={jobHref(id)}>
        The job
      </Link>
      <Button icon={RotateCcw} why={whyNot() || (failed ? "" : "No run failed.")} onClick={() => ask(true)}>
        Re-run failed ({failed})
      </Button>
      <Menu
        label="Export the runs"
        icon={Download}
        items={[
          { label: "CSV", href: file("csv"), isDownload: true },
          { label: "JSON", href: file("json"), isDownload: true },
          { label: "Parquet", href: file("parquet"), isDownload: true, why: whyNoParquet() },
        ]}
      >
        Export
      </Menu>
      {isAsking ? <Rerun id={id} where="failed" count={failed} onClose={() => ask(false)} /> : null}
    </div>
  );
}

const whyNoParquet = (): string =>
  boot.value!.features.includes("parquet") ? "" : "This server needs an extra package for it: simyard[parquet]";

function Rerun({
  id,
  where,
  runs,
  count,
  onClose,
}: {
  id: string;
  where?: string;
  runs?: string[];
  count: number;
  onClose: () => void;
}) {
  const [once] = useState(newKey);
  return (
    <Confirm
      title={`Run ${count} ${plural(count, "run")} again?`}
      verb="Run again"
      onClose={onClose}
      onConfirm={async () => {
        const reply = await api<Schemas["RunNumbers"]>("POST", `${jobPath(id)}study/rerun/`, {
          json: runs ? { runs } : { where },
          once,
        });
        changed(`${jobPath(id)}study/`);
        toast(`${reply.count} ${plural(reply.count, "run")} will be run again.`, "good");
      }}
    >
      <p>
        The same points are computed anew. Outputs with new content take the place of those that are there; each attempt
        is charged.
      </p>
    </Confirm>
  );
}

function Views({ id, summary, runs }: { id: string; summary: Summary; runs: Run[] }) {
  const [place, go] = usePlace();
  const [hovered, hover] = useState("");
  const [, open] = useLocation();
  const columns = useMemo(() => columnsOf(summary.variables, runs), [summary.variables, runs]);
  const { ids, error, isAsked } = useFilter(id, place["filter"] ?? "", summary.version);
  const state = place["status"] ?? "";
  const sort = place["sort"] || "id";
  const shown = useMemo(() => {
    const some = runs.filter((run) => (!state || run.status === state) && (!ids || ids.has(run.id)));
    return sort === "id" ? some : sorted(some, sort);
  }, [runs, state, ids, sort]);
  const drawn = columns.filter((column) => column.isNumber);
  const isKnown = (key: string | undefined): boolean => drawn.some((column) => column.key === key);
  const x = isKnown(place["x"]) ? place["x"]! : (drawn.find((column) => column.key.startsWith("inputs."))?.key ?? "id");
  const y = isKnown(place["y"])
    ? place["y"]!
    : (drawn.find((column) => column.key.startsWith("outputs."))?.key ?? "duration");
  const name = (key: string): string => columns.find((column) => column.key === key)?.label ?? key;
  const openRun = (run: string): void => open(jobHref(id, "", { run }));
  const choice = (label: string, value: string, parameter: string) => (
    <Choice label={label} name={parameter} value={value} set={(key) => go({ [parameter]: key })}>
      {drawn.map((column) => (
        <option key={column.key} value={column.key}>
          {column.label}
        </option>
      ))}
    </Choice>
  );
  return (
    <>
      <Panel title="Scatter">
        <div class="row">
          {choice("Across", x, "x")}
          {choice("Up", y, "y")}
        </div>
        <Scatter
          runs={shown}
          x={x}
          y={y}
          xName={name(x)}
          yName={name(y)}
          hovered={hovered}
          onHover={hover}
          onOpen={openRun}
        />
      </Panel>
      <Panel title="Runs">
        <div class="stack-small">
          <div class="row">
            <button
              type="button"
              class="chip"
              aria-pressed={state === "" ? "true" : "false"}
              onClick={() => go({ status: "" })}
            >
              all {summary.total}
            </button>
            {STATES.filter(([each]) => summary.counts[each]).map(([each, tone, Icon]) => (
              <button
                key={each}
                type="button"
                class={`chip tone-${tone}`}
                aria-pressed={state === each ? "true" : "false"}
                onClick={() => go({ status: state === each ? "" : each })}
              >
                <Icon size={14} class="icon" /> {each} {summary.counts[each]}
              </button>
            ))}
          </div>
          <Filter
            text={place["filter"] ?? ""}
            error={error}
            onFilter={(filter) => go({ filter })}
            example={example(columns)}
          />
          {isAsked && !ids ? <Skeleton rows={2} /> : null}
          {shown.length ? (
            <RunsTable
              id={id}
              runs={shown}
              columns={columns}
              sort={sort}
              onSort={(key) => go({ sort: sort === key ? `-${key}` : key })}
              hovered={hovered}
              onHover={hover}
            />
          ) : (
            <Empty title="No run fits">
              <Button onClick={() => go({ status: "", filter: "" })}>Clear the filters</Button>
            </Empty>
          )}
        </div>
      </Panel>
    </>
  );
}

function columnsOf(variables: Schemas["StudyVariable"][], runs: Run[]): Column[] {
  const units = new Map(variables.map((variable) => [variable.name, variable.unit]));
  const texts = new Set(variables.filter((variable) => variable.isText).map((variable) => variable.name));
  const first = runs[0];
  const of = (group: "inputs" | "outputs"): Column[] =>
    Object.keys(first?.[group] ?? {}).map((name) => ({
      key: `${group}.${name}`,
      label: units.get(name) ? `${name} [${units.get(name)}]` : name,
      isNumber: !texts.has(name),
    }));
  return [
    ...of("inputs"),
    ...of("outputs"),
    { key: "duration", label: "Time [s]", isNumber: true },
    { key: "coreHours", label: "Core-hours", isNumber: true },
  ];
}

const example = (columns: Column[]): string => {
  const output = columns.find((column) => column.key.startsWith("outputs."));
  return output ? `${output.key.slice("outputs.".length)} > 0.1 and status = "done"` : 'status = "done"';
};

/** The ids of the runs that the server finds for a filter; null: all, or not known yet. */
function useFilter(
  id: string,
  filter: string,
  version: string,
): { ids: ReadonlySet<string> | null; error: string; isAsked: boolean } {
  const [found, set] = useState<{ filter: string; ids: ReadonlySet<string> } | null>(null);
  const [error, fail] = useState("");
  useEffect(() => {
    if (!filter) {
      set(null);
      fail("");
      return;
    }
    const over = new AbortController();
    const ask = async (): Promise<void> => {
      const ids = new Set<string>();
      for (let page = 1; ; page++) {
        const reply = await api<Page<Schemas["StudyRow"]>>("GET", `${jobPath(id)}study/table/`, {
          query: { filter, page, page_size: PAGE },
          signal: over.signal,
        });
        for (const run of reply.results) ids.add(run.id);
        if (!reply.next) break;
      }
      set({ filter, ids });
      fail("");
    };
    ask().catch((problem: unknown) => {
      if (over.signal.aborted) return;
      set(null);
      fail(problem instanceof ApiError ? (problem.fields["filter"]?.[0] ?? problem.message) : String(problem));
    });
    return () => over.abort();
  }, [id, filter, version]);
  return { ids: found?.filter === filter ? found.ids : null, error, isAsked: Boolean(filter) && !error };
}

function Filter({
  text,
  error,
  onFilter,
  example,
}: {
  text: string;
  error: string;
  onFilter: (text: string) => void;
  example: string;
}) {
  const [typed, type] = useState(text);
  useEffect(() => type(text), [text]);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onFilter(typed.trim());
      }}
    >
      <Field label="Filter" name="filter" hint={<>Such as {<code>{example}</code>}</>} errors={error ? [error] : []}>
        {(props) => (
          <div class="row">
            <input
              {...props}
              class="input mono grow"
              value={typed}
              onInput={(event) => type(event.currentTarget.value)}
            />
            <Button type="submit">Filter</Button>
          </div>
        )}
      </Field>
    </form>
  );
}

type RunsTableProps = {
  id: string;
  runs: Run[];
  columns: Column[];
  sort: string;
  onSort: (key: string) => void;
  hovered: string;
  onHover: (id: string) => void;
};

function RunsTable({ id, runs, columns, sort, onSort, hovered, onHover }: RunsTableProps) {
  const layout = {
    gridTemplateColumns: `64px 112px repeat(${columns.length}, minmax(96px, 1fr)) minmax(180px, 2fr)`,
    minWidth: `${380 + columns.length * 104}px`,
  };
  const sortOf = (key: string): "ascending" | "descending" | "none" =>
    sort === key ? "ascending" : sort === `-${key}` ? "descending" : "none";
  const heading = (key: string, label: string, isNumber = true) => (
    <div key={key} role="columnheader" aria-sort={sortOf(key)} class={isNumber ? "number" : ""}>
      <button type="button" class="sort" onClick={() => onSort(key)} title={label}>
        {label} {sort === key ? "↑" : sort === `-${key}` ? "↓" : ""}
      </button>
    </div>
  );
  return (
    <div class="study-grid" role="table" aria-label="Runs of the study" aria-rowcount={runs.length + 1}>
      <div role="rowgroup" class="study-head">
        <div role="row" aria-rowindex={1} class="study-row is-head" style={layout}>
          {heading("id", "Run")}
          {heading("status", "State", false)}
          {columns.map((column) => heading(column.key, column.label))}
          <div role="columnheader">Why</div>
        </div>
      </div>
      <Window
        count={runs.length}
        row={ROW}
        role="rowgroup"
        render={(n) => {
          const run = runs[n]!;
          const state = STATES.find(([name]) => name === run.status) ?? STATES[4];
          const Icon = state[2];
          return (
            <div
              role="row"
              aria-rowindex={n + 2}
              class={`study-row ${hovered === run.id ? "is-lit" : ""}`}
              style={layout}
              onMouseEnter={() => onHover(run.id)}
              onMouseLeave={() => onHover("")}
            >
              <div role="cell" class="number">
                <Link href={jobHref(id, "", { run: run.id })}>{run.id}</Link>
                {run.isOptimal ? <Star size={12} class="icon" aria-label="best" /> : null}
              </div>
              <div role="cell">
                <span class={`badge tone-${state[1]}`}>
                  <Icon size={14} class="icon" />
                  {run.status}
                </span>
              </div>
              {columns.map((column) => (
                <div key={column.key} role="cell" class="number ellipsis">
                  {column.key === "duration" ? (
                    <span title={`${run.duration ?? ""}`}>{run.duration === null ? "-" : duration(run.duration)}</span>
                  ) : (
                    <Num value={valueOf(run, column.key)} />
                  )}
                </div>
              ))}
              <div role="cell" class="ellipsis quiet" title={run.reason}>
                {run.reason}
              </div>
            </div>
          );
        }}
      />
    </div>
  );
}

