/** A run at a glance: does it converge, what does it say, what does it use, what came of it. */

import { useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { runPath } from "../../api/jobs";
import { useGet } from "../../api/queries";
import type { Job, Run, SeriesData, Status } from "../../api/types";
import { TONES, leftText, type Converging } from "../../lib/convergence";
import { number } from "../../lib/format";
import { jobHref } from "../../lib/hrefs";
import { baseName, capital } from "../../lib/words";
import { Banner, Bytes, Empty, Failure, Num, Panel, Skeleton, Sparkline } from "../../ui/parts";
import { Table } from "../../ui/scroll";
import { Charts } from "./charts";
import { logHref } from "./hrefs";
import { liveState, useTold, type Live } from "./live";
import { spansOf } from "./lines";
import { fill } from "./logview";
import { results } from "./model";
import { OutcomeBanner, Timeline, amount } from "./outcome";
import type { Now } from "./standing";
import { shownLine } from "./text";
import { isMissing, useLog } from "./uselog";

type Props = {
  job: Job;
  run: Run | undefined;
  runId: string;
  now: Now;
  history: readonly Status[];
  live: Live | null;
  log: string | null;
};

export function Overview({ job, run, runId, now, history, live, log }: Props) {
  return (
    <div class="stack">
      {run?.outcome ? <OutcomeBanner job={job.id} run={run} outcome={run.outcome} reason={now.reason} /> : null}
      {job.notices.map((notice) => (
        <Banner key={notice.code} tone="warning">
          {notice.message}
        </Banner>
      ))}
      {run?.warnings.map((warning) => (
        <Banner key={warning} tone="warning">
          {warning}
        </Banner>
      ))}
      {liveState(live).value === "lost" ? (
        <Banner tone="warning">
          The stream of this run was lost: the run goes on, and what is here is brought up to date as soon as the server
          answers.
        </Banner>
      ) : null}
      <div class="job-columns">
        <div class="stack">
          {run ? (
            <Charts job={job.id} run={run.id} parent={job.clonedFrom} live={live} isOver={run.dateCompleted !== null} />
          ) : null}
          {!run && !now.isDraft ? (
            <Panel title="Residuals">
              <p class="quiet">They are drawn as soon as the run has begun.</p>
            </Panel>
          ) : null}
        </div>
        <div class="stack">
          {run ? <Convergence job={job.id} run={run.id} live={live} /> : null}
          {run && log ? (
            <Tail key={log} job={job.id} run={run.id} log={log} live={live} isOver={run.dateCompleted !== null} />
          ) : null}
          {run ? <Resources job={job} run={run} live={live} /> : null}
          {run ? <Outputs job={job} run={run} href={jobHref(job.id, "files", { run: runId })} /> : null}
          <Timeline history={history} isOver={now.isOver} />
        </div>
      </div>
    </div>
  );
}

// --- convergence ---------------------------------------------------------------------------------

/** What the server makes of the residuals, as it was asked and as it was told since. */
export function useConvergence(
  job: string,
  run: string,
  live: Live | null,
  enabled = true,
): { data: Converging | undefined; error: unknown } {
  const path = runPath(job, run);
  const asked = useGet<Converging>(`${path}convergence/`, {}, { enabled, keep: true });
  const [told, tell] = useState<{ path: string; data: Converging } | null>(null);
  useTold(live, ({ name, data }) => {
    if (name === "convergence") tell({ path, data: data as Converging });
  });
  return { data: live && told?.path === path ? told.data : asked.data, error: asked.error };
}

function Convergence({ job, run, live }: { job: string; run: string; live: Live | null }) {
  const { data, error } = useConvergence(job, run, live);
  if (error || !data || (data.state === "unknown" && !data.sentence)) return null;
  return (
    <p class={`banner tone-${TONES[data.state]}`} title={data.evidence ? `By this rule: ${data.evidence.rule}` : ""}>
      <span>
        {data.state === "unknown" ? null : <strong>{capital(data.state)}: </strong>}
        {data.sentence}
        {live && data.eta ? ` (${leftText(data.eta)})` : ""}
      </span>
    </p>
  );
}

// --- the end of the log --------------------------------------------------------------------------

const LINES = 12;
const flat = (): number => 1;

function Tail({
  job,
  run,
  log,
  live,
  isOver,
}: {
  job: string;
  run: string;
  log: string;
  live: Live | null;
  isOver: boolean;
}) {
  const { book } = useLog({ path: runPath(job, run), log, live, isOver });
  const shown = fill(book, "end", 2 * LINES, flat)
    .lines.map((line) => ({ line, text: shownLine(book.bytes(line), 400) }))
    .filter(({ text }) => text.text !== "")
    .slice(-LINES);
  return (
    <Panel
      title={baseName(log)}
      tools={
        <Link class="button small" href={logHref(job, run, log)}>
          Open
        </Link>
      }
    >
      {isMissing(book.error) ? (
        <Empty title={isOver ? "It left no log" : "No output yet"} />
      ) : book.error ? (
        <Failure error={book.error} what="The log" again={() => book.retry()} />
      ) : book.size === null ? (
        <Skeleton />
      ) : book.size === 0 ? (
        <p class="quiet">Nothing was written{isOver ? "" : " so far"}.</p>
      ) : (
        <pre class="tail" aria-label="Last lines of the log">
          {shown.map(({ line, text }) => (
            <div key={line.start}>
              {spansOf(text).map((span, n) => (
                <span key={n} class={span.tone ? `ansi-${span.tone}` : ""}>
                  {span.text}
                </span>
              ))}
              {"\n"}
            </div>
          ))}
        </pre>
      )}
    </Panel>
  );
}

// --- what it uses --------------------------------------------------------------------------------

type Use = { seconds: number; used: Record<string, number | null>; limits: Record<string, number | null> };

const NAMES: Record<string, string> = {
  cpu: "CPU, cores",
  memory: "Memory",
  disk: "Disk",
  files: "Files",
  processes: "Processes",
  log: "Log",
};
const POINTS = 120;

function Resources({ job, run, live }: { job: Job; run: Run; live: Live | null }) {
  const path = runPath(job.id, run.id);
  const [uses, tell] = useState<Use[]>([]);
  const use = uses.at(-1) ?? null;
  const data = useGet<SeriesData>(`${path}metrics/data/`, { points: POINTS }, { keep: true });
  useTold(live, ({ name, data: said }) => {
    if (name === "metrics") tell((before) => [...before.slice(-POINTS), said as Use]);
  });
  const used = run.outcome?.used ?? {};
  const names = [
    ...new Set([
      ...Object.keys(data.data?.keys ?? {}),
      ...Object.keys(used),
      ...Object.keys(live ? (use?.used ?? {}) : {}),
    ]),
  ];
  if (data.error) {
    return (
      <Panel title="Resources">
        <Failure error={data.error} what="What it uses" again={() => void data.refetch()} />
      </Panel>
    );
  }
  if (!names.length) return null;
  return (
    <Panel title="Resources">
      <Table label="What it uses" class="resources">
        <thead>
          <tr>
            <th>Of</th>
            <th class="number">{live ? "Now" : "Most"}</th>
            <th class="number">Limit</th>
            <th>Over time</th>
          </tr>
        </thead>
        <tbody>
          {names.map((name) => {
            const curve = data.data?.keys[name];
            const until = curve?.x.at(-1) ?? -1;
            const since = live
              ? uses.filter((each) => each.seconds > until).map((each) => each.used[name] ?? null)
              : [];
            const values = [
              ...(curve?.last ?? []).map((value) => (typeof value === "number" ? value : null)),
              ...since,
            ];
            const highs = (curve?.max ?? []).filter((value): value is number => typeof value === "number");
            const most = used[name]?.most ?? (highs.length ? Math.max(...highs) : null);
            const value = live ? (use?.used[name] ?? values.at(-1) ?? null) : most;
            const known = live ? use?.limits[name] : used[name]?.limit;
            const limit = known ?? null;
            const share = value !== null && limit ? value / limit : null;
            return (
              <tr key={name}>
                <th scope="row">{NAMES[name] ?? name}</th>
                <td class="number" title={value === null ? "" : String(value)}>
                  {amount(name, value)}
                </td>
                <td class="number">
                  {limit === null ? <span class="faint">{known === null ? "none" : "-"}</span> : amount(name, limit)}
                </td>
                <td>
                  <span class="row nowrap">
                    {share === null ? (
                      <span class="meter-room" />
                    ) : (
                      <Meter share={share} label={`${NAMES[name] ?? name} against its limit`} />
                    )}
                    <Sparkline values={values} label={`${NAMES[name] ?? name} over time`} width={72} />
                  </span>
                </td>
              </tr>
            );
          })}
        </tbody>
      </Table>
    </Panel>
  );
}

function Meter({ share, label }: { share: number; label: string }) {
  const so = Math.max(0, Math.min(1, share));
  return (
    <span
      class={`progress ${so > 0.9 ? "near" : ""}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(so * 100)}
      title={`${Math.round(share * 100)} %`}
    >
      <i style={{ width: `${so * 100}%` }} />
    </span>
  );
}

// --- what came of it -----------------------------------------------------------------------------

function Outputs({ job, run, href }: { job: Job; run: Run; href: string }) {
  const values = results(job, run);
  const inputs = run.variables.filter((each) => !values.includes(each));
  if (!run.dateCompleted && !values.length && !inputs.length) return null;
  return (
    <Panel
      title="Results"
      tools={
        <Link class="button small" href={href}>
          Files
        </Link>
      }
    >
      <dl class="facts">
        {[...inputs, ...values].map((each) => [
          <dt key={`${each.name}-name`}>
            <bdi>{each.name}</bdi>
          </dt>,
          <dd key={each.name} class="mono">
            {each.value === null ? each.displayValue : <Num value={each.value} />}
          </dd>,
        ])}
        {run.dateCompleted ? (
          <>
            <dt>Files</dt>
            <dd>
              {number(run.outputFileCount)}, <Bytes value={run.outputFileSize} />
            </dd>
          </>
        ) : null}
      </dl>
    </Panel>
  );
}
