/** Residuals and monitors of a run, drawn from its log while it grows. */

import type { ComponentType } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../../api/client";
import { runPath } from "../../api/jobs";
import { changed, useGet } from "../../api/queries";
import type { Schemas, SeriesData } from "../../api/types";
import { number } from "../../lib/format";
import { usePlace, list, toggled } from "../../lib/query";
import { capital, messageOf } from "../../lib/words";
import { Dialog } from "../../ui/dialog";
import { Download, RotateCcw, X } from "../../ui/icons";
import { Menu } from "../../ui/menu";
import { Button, Empty, Failure, Field, Panel, Skeleton } from "../../ui/parts";
import { Table } from "../../ui/scroll";
import { toast } from "../../ui/toasts";
import type { Drawn } from "./chart";
import { aligned, csv, curvesOf, extended, looks, type Curve, type Curves, type Rows, type Value } from "./curves";
import { useTold, type Live } from "./live";

type SeriesInfo = Schemas["Series"];

const POINTS = 1200;
const MOST_POINTS = 4 * POINTS; // of a curve that has grown, before it is thinned anew
const RECENT = 20; // events
const ROWS_SHOWN = 200;

type Zoom = [number, number] | null;

const zoomOf = (text: string | undefined): Zoom => {
  const [from, to] = (text ?? "").split(":").map(Number);
  return from !== undefined && to !== undefined && Number.isFinite(from) && Number.isFinite(to) && from < to
    ? [from, to]
    : null;
};

/** What is charted of a run, with what has come since it was fetched. */
function useCurves(path: string, live: Live | null, zoom: Zoom) {
  const infos = useGet<SeriesInfo[]>(`${path}series/`, {}, { keep: true });
  const data = useGet<SeriesData>(
    `${path}series/data/`,
    { points: POINTS, ...(zoom ? { from: zoom[0], to: zoom[1] } : {}) },
    { keep: true },
  );
  const base = useMemo(() => (data.data ? curvesOf(data.data) : null), [data.data]);
  const [curves, set] = useState<Curves | null>(base);
  // What was told while the reply was on its way may not be in it.
  const recent = useRef<Rows[]>([]);
  useEffect(() => {
    recent.current = [];
  }, [path]);
  useEffect(() => set(base && !zoom ? recent.current.reduce(extended, base) : base), [base]);
  const known = useRef(0);
  known.current = infos.data?.length ?? 0;
  useTold(live, ({ name, data: said }) => {
    if (name === "end") changed(`${path}series/`);
    if (name !== "series") return;
    const rows = said as Rows;
    if (rows.isNew) {
      recent.current = [];
      return changed(`${path}series/`);
    }
    recent.current = [...recent.current.slice(-RECENT), rows];
    if (Object.keys(rows.values).length > known.current) changed(`${path}series/`);
    set((before) => {
      if (!before || zoom) return before;
      const after = extended(before, rows);
      for (const curve of after.values()) {
        if (curve.x.length > MOST_POINTS) {
          changed(`${path}series/data/`);
          break;
        }
      }
      return after;
    });
  });
  return { infos, data, curves: curves ?? base };
}

type Other = { job: string; run: string };

const otherOf = (text: string | undefined): Other | null => {
  const [, job, run] = /^([^/]+)\/(\d+)$/.exec(text ?? "") ?? [];
  return job && run ? { job, run } : null;
};

type Props = { job: string; run: string; parent: string | null; live: Live | null; isOver: boolean };

export function Charts({ job, run, parent, live, isOver }: Props) {
  const [place, change] = usePlace();
  const other = otherOf(place["over"]);
  const [isAsking, ask] = useState(false);
  const path = runPath(job, run);
  const zoom = zoomOf(place["x"]);
  const { infos, data, curves } = useCurves(path, live, zoom);
  const earlier = useGet<SeriesData>(
    other ? `${runPath(other.job, other.run)}series/data/` : "",
    { points: POINTS, ...(zoom ? { from: zoom[0], to: zoom[1] } : {}) },
    { enabled: other !== null, keep: true },
  );
  const under = useMemo(
    () => (place["over"] && earlier.data ? curvesOf(earlier.data) : null),
    [earlier.data, place["over"]],
  );
  if (infos.error || data.error) {
    return (
      <Panel title="Residuals">
        <Failure
          error={infos.error ?? data.error}
          what="The series of this run"
          again={() => changed(`${path}series/`)}
        />
      </Panel>
    );
  }
  if (!infos.data || !curves) {
    return (
      <Panel title="Residuals">
        <Skeleton />
      </Panel>
    );
  }
  const groups = new Map<string, SeriesInfo[]>();
  for (const info of infos.data) groups.set(info.group, [...(groups.get(info.group) ?? []), info]);
  if (groups.size === 0) {
    return (
      <Panel title="Residuals">
        <Empty title={isOver ? "Nothing to chart" : "Nothing to chart so far"}>
          <p>
            {isOver
              ? "The log has no residuals or monitors that the catalogue knows for this analysis."
              : "Curves are drawn as soon as the log has something that the catalogue knows for this analysis."}
          </p>
        </Empty>
      </Panel>
    );
  }
  const ordered = [...groups].sort(([a], [b]) => rank(a) - rank(b));
  return (
    <>
      <div class="row">
        {other ? (
          <>
            <span class="quiet">
              In grey: run {other.run} of {other.job}
            </span>
            <Button small icon={X} onClick={() => change({ over: "" })}>
              Without it
            </Button>
          </>
        ) : (
          <Button small onClick={() => ask(true)}>
            Compare with another run
          </Button>
        )}
      </div>
      {other && earlier.error ? (
        <Failure error={earlier.error} what={`Run ${other.run} of ${other.job}`} again={() => void earlier.refetch()} />
      ) : null}
      {isAsking ? (
        <Compare
          first={parent ?? job}
          onClose={() => ask(false)}
          onDraw={(so) => change({ over: `${so.job}/${so.run}` })}
        />
      ) : null}
      {ordered.map(([group, members]) => (
        <Group
          key={group}
          group={group}
          members={members}
          curves={curves}
          under={under}
          isExact={data.data?.exact ?? true}
          isOld={data.isPlaceholderData}
          path={path}
          zoom={zoom}
          onZoom={(range) => change({ x: range ? range.map((x) => Number(x.toPrecision(6))).join(":") : "" })}
          hidden={list(place["hide"])}
          onHide={(key) => change({ hide: toggled(place["hide"], key) }, { replace: true })}
          isTable={list(place["table"]).includes(group)}
          onTable={() => change({ table: toggled(place["table"], group) })}
        />
      ))}
    </>
  );
}

type GroupProps = {
  group: string;
  members: SeriesInfo[];
  curves: Curves;
  under: Curves | null; // of another run, in grey
  isExact: boolean;
  isOld: boolean;
  path: string;
  zoom: Zoom;
  onZoom: (range: Zoom) => void;
  hidden: string[];
  onHide: (key: string) => void;
  isTable: boolean;
  onTable: () => void;
};

/** What is looked at first stands first. */
const rank = (group: string): number =>
  ["residuals", "", "continuity", "clock"].indexOf(["residuals", "continuity", "clock"].includes(group) ? group : "");

const NOTHING: Curve = { x: [], y: [] };

function Group({
  group,
  members,
  curves,
  under,
  isExact,
  isOld,
  path,
  zoom,
  onZoom,
  hidden,
  onHide,
  isTable,
  onTable,
}: GroupProps) {
  const [at, setAt] = useState<number | null>(null);
  const [Chart, failed] = useChart();
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const isLog = members.every((each) => each.scale === "log");
  const own = members.map((each) => curves.get(each.key) ?? NOTHING);
  const mine = useMemo(() => aligned(own, isLog), [curves, isLog]);
  const greys = under ? members.map((each) => under.get(each.key) ?? NOTHING) : [];
  const data = useMemo(
    () => (under ? { ...aligned([...greys, ...own], isLog), odd: mine.odd } : mine),
    [mine, under, isLog],
  );
  const raw = useMemo(() => own.map((curve) => new Map(curve.x.map((x, n) => [x, curve.y[n]!]))), [curves]);
  const all = looks(members.map((each) => each.label));
  const series: Drawn[] = members.map((each, n) => ({
    label: each.label,
    look: all[n]!,
    isShown: !hidden.includes(each.key),
  }));
  const drawn = under ? [...series.map((each) => ({ ...each, isGrey: true })), ...series] : series;
  const said = sentence(members, own);
  const units = [...new Set(members.map((each) => each.unit).filter(Boolean))];
  const save = (): void => void exactCsv(path, group, members);
  return (
    <Panel
      title={`${capital(group)}${units.length === 1 ? `, ${units[0]}` : ""}`}
      class={isOld ? "stale" : ""}
      tools={
        <>
          {zoom ? (
            <Button small icon={RotateCcw} onClick={() => onZoom(null)}>
              Whole range
            </Button>
          ) : null}
          <Button small aria-pressed={isTable ? "true" : "false"} onClick={onTable}>
            Table
          </Button>
          <Menu
            label={`Save ${group}`}
            icon={Download}
            isSmall
            items={[
              { label: "CSV, all points", run: save },
              ...(isTable ? [] : [{ label: "PNG", run: () => canvas.current && savePng(canvas.current, group) }]),
            ]}
          />
        </>
      }
    >
      <figure class="stack-small">
        {isTable ? (
          <Values members={members} xs={mine.x} raw={raw} />
        ) : failed ? (
          <Failure error={failed} what="The chart" />
        ) : Chart ? (
          <Chart
            data={data}
            series={drawn}
            isLog={isLog}
            height={isLog ? 300 : 200}
            label={said}
            onZoom={onZoom}
            onPoint={setAt}
            canvas={(element) => (canvas.current = element)}
          />
        ) : (
          <div class={`chart ${isLog ? "tall" : ""}`} />
        )}
        <div class="legend" role="group" aria-label={`${capital(group)} that are drawn`}>
          {members.map((each, n) => {
            const value = at !== null ? raw[n]!.get(data.x[at] ?? NaN) : own[n]!.y.at(-1);
            return (
              <button
                key={each.key}
                type="button"
                class="chip"
                aria-pressed={series[n]!.isShown ? "true" : "false"}
                onClick={() => onHide(each.key)}
              >
                <svg width="18" height="8" aria-hidden="true">
                  <path
                    d="M0 4H18"
                    stroke={`var(--series-${all[n]!.colour})`}
                    stroke-width="2"
                    stroke-dasharray={all[n]!.dash.join(" ")}
                  />
                </svg>
                {each.label} <span class="number mono">{number(value)}</span>
              </button>
            );
          })}
          <span class="quiet number">{at !== null && data.x[at] !== undefined ? `at ${number(data.x[at])}` : ""}</span>
        </div>
        <figcaption class="quiet small">
          {said}
          {isExact || zoom ? "" : " Drawn with fewer points than there are: drag over a part to see all of them."}
          {mine.odd.length
            ? ` Values that are no numbers at ${mine.odd.length} places, marked on top, from ${number(mine.odd[0])} on.`
            : ""}
        </figcaption>
      </figure>
    </Panel>
  );
}

/** Which other run is drawn behind this one. */
function Compare({ first, onClose, onDraw }: { first: string; onClose: () => void; onDraw: (other: Other) => void }) {
  const [job, setJob] = useState(first);
  const [run, setRun] = useState("1");
  return (
    <Dialog title="Compare with another run" onClose={onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          onDraw({ job: job.trim(), run });
          onClose();
        }}
      >
        <Field label="Job" name="over-job" hint="Its id, as in the address of its page.">
          {(props) => (
            <input
              {...props}
              class="input mono"
              value={job}
              required
              pattern="[^/]+"
              onInput={(event) => setJob(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="Run" name="over-run">
          {(props) => (
            <input
              {...props}
              class="input"
              type="number"
              min={1}
              value={run}
              required
              onInput={(event) => setRun(event.currentTarget.value)}
            />
          )}
        </Field>
        <div class="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit">
            Draw it in grey
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** What is to be seen, in a sentence. */
export function sentence(members: readonly SeriesInfo[], curves: readonly Curve[]): string {
  const parts = members.slice(0, 4).map((each, n) => {
    const { y } = curves[n]!;
    return y.length
      ? `${each.label} from ${number(y[0])} to ${number(y.at(-1))}${each.unit ? ` ${each.unit}` : ""}`
      : `${each.label} without values`;
  });
  const ends = curves.flatMap((curve) => (curve.x.length ? [curve.x[0]!, curve.x.at(-1)!] : []));
  const rest = members.length > 4 ? ` and ${members.length - 4} more` : "";
  return ends.length
    ? `From ${number(Math.min(...ends))} to ${number(Math.max(...ends))}: ${parts.join(", ")}${rest}.`
    : `${members.map((each) => each.label).join(", ")}: no values yet.`;
}

type ChartType = ComponentType<Parameters<(typeof import("./chart"))["default"]>[0]>;
let loaded: ChartType | null = null;

function useChart(): [ChartType | null, unknown] {
  const [Chart, set] = useState<ChartType | null>(() => loaded);
  const [error, fail] = useState<unknown>(null);
  useEffect(() => {
    if (loaded) return;
    import("./chart").then((module) => {
      loaded = module.default;
      set(() => loaded);
    }, fail);
  }, []);
  return [Chart, error];
}

function Values({ members, xs, raw }: { members: SeriesInfo[]; xs: number[]; raw: Map<number, Value>[] }) {
  const from = Math.max(0, xs.length - ROWS_SHOWN);
  return (
    <>
      <Table label="Values" place="chart-table">
        <thead>
          <tr>
            <th class="number">x</th>
            {members.map((each) => (
              <th key={each.key} class="number">
                {each.label}
                {each.unit ? `, ${each.unit}` : ""}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {xs
            .slice(from)
            .toReversed()
            .map((x) => (
              <tr key={x}>
                <td class="number">{number(x)}</td>
                {raw.map((values, n) => (
                  <td key={members[n]!.key} class="number mono" title={String(values.get(x) ?? "")}>
                    {number(values.get(x))}
                  </td>
                ))}
              </tr>
            ))}
        </tbody>
      </Table>
      {from > 0 ? <p class="quiet small">The newest {ROWS_SHOWN} of {xs.length} rows; the CSV has all.</p> : null}
    </>
  );
}

async function exactCsv(path: string, group: string, members: readonly SeriesInfo[]): Promise<void> {
  try {
    const data = await api<SeriesData>("GET", `${path}series/data/`, {
      query: { keys: members.map((each) => each.key).join(","), points: 20_000 },
    });
    const curves = curvesOf(data);
    const own = members.map((each) => curves.get(each.key) ?? NOTHING);
    save(new Blob([csv(members.map((each) => each.label), own)], { type: "text/csv" }), `${group}.csv`);
    if (!data.exact) toast("The file has 20,000 points of each series: there are more.");
  } catch (error) {
    toast(messageOf(error), "bad");
  }
}

function savePng(canvas: HTMLCanvasElement, name: string): void {
  const copy = document.createElement("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  const context = copy.getContext("2d")!;
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(canvas, 0, 0);
  copy.toBlob((blob) => blob && save(blob, `${name}.png`));
}

/** As a download of the browser. */
export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
