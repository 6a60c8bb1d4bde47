/** A chart: loaded when the first one is drawn. */

import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { number } from "../../lib/format";
import { resolved, useTheme } from "../../lib/media";
import type { Aligned, Look } from "./curves";

export type Drawn = { label: string; look: Look; isGrey?: boolean; isShown: boolean };

type Props = {
  data: Aligned;
  series: Drawn[];
  isLog: boolean;
  height: number;
  label: string;
  onZoom: (range: [number, number] | null) => void;
  onPoint: (index: number | null) => void;
  canvas: (canvas: HTMLCanvasElement | null) => void;
};

const NAMES_PX = 64; // at the right, where lines end with their names
const NAME_PX = 12;

export default function Chart({ data, series, isLog, height, label, onZoom, onPoint, canvas }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>();
  const newest = useRef({ data, series, onZoom, onPoint });
  newest.current = { data, series, onZoom, onPoint };
  const theme = useTheme();
  const lines = series.map((each) => `${each.label} ${each.look.colour} ${each.isGrey}`).join("|");
  const shape = `${lines} ${isLog} ${theme}`;

  useLayoutEffect(() => {
    const style = getComputedStyle(document.documentElement);
    const token = (name: string): string => style.getPropertyValue(name).trim();
    const colour = (each: Drawn): string =>
      resolved(box.current!, each.isGrey ? "var(--text-3)" : `var(--series-${each.look.colour})`);
    const ink = resolved(box.current!, "var(--text-2)");
    const grid = resolved(box.current!, "var(--hairline)");
    const font = `12px ${token("--sans")}`;
    const axis: uPlot.Axis = {
      stroke: ink,
      font,
      grid: { stroke: grid, width: 1 },
      ticks: { stroke: grid, width: 1, size: 4 },
    };
    const made = new uPlot(
      {
        width: box.current!.clientWidth || 300,
        height,
        padding: [12, NAMES_PX, 0, 0],
        legend: { show: false },
        cursor: { points: { size: 6 }, focus: { prox: 24 }, drag: { x: true, y: false, setScale: false }, y: false },
        focus: { alpha: 0.35 },
        scales: { x: { time: false }, y: isLog ? { distr: 3, range: logRange } : { range: linearRange } },
        axes: [
          { ...axis, size: 28, values: (_, ticks) => ticks.map((tick) => number(tick)) },
          {
            ...axis,
            size: 64,
            values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : isLog ? power(tick) : number(tick))),
          },
        ],
        series: [
          {},
          ...series.map((each) => ({
            label: each.label,
            show: each.isShown,
            stroke: colour(each),
            width: 1.5,
            dash: each.look.dash,
            points: { show: false },
            spanGaps: false,
          })),
        ],
        hooks: {
          draw: [
            (u) => names(u, newest.current.series, colour, font),
            (u) => oddities(u, newest.current.data.odd, resolved(box.current!, "var(--bad)")),
          ],
          setCursor: [(u) => newest.current.onPoint(u.cursor.idx ?? null)],
          setSelect: [
            (u) => {
              if (u.select.width < 4) return;
              const from = u.posToVal(u.select.left, "x");
              const to = u.posToVal(u.select.left + u.select.width, "x");
              u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
              newest.current.onZoom([from, to]);
            },
          ],
          ready: [(u) => u.over.addEventListener("dblclick", () => newest.current.onZoom(null))],
        },
      },
      [newest.current.data.x, ...newest.current.data.y] as uPlot.AlignedData,
      box.current!,
    );
    plot.current = made;
    canvas(made.ctx.canvas);
    const observer = new ResizeObserver(() => {
      const width = box.current?.clientWidth ?? 0;
      if (width && width !== made.width) made.setSize({ width, height });
    });
    observer.observe(box.current!);
    return () => {
      observer.disconnect();
      canvas(null);
      made.destroy();
      plot.current = undefined;
    };
  }, [shape, height]);

  useEffect(() => {
    plot.current?.setData([data.x, ...data.y] as uPlot.AlignedData);
  }, [data]);
  const shown = series.map((each) => each.isShown).join();
  useEffect(() => {
    const u = plot.current;
    if (!u) return;
    series.forEach((each, n) => {
      if (u.series[n + 1]?.show !== each.isShown) u.setSeries(n + 1, { show: each.isShown });
    });
  }, [shown, shape]);

  return <div class="chart" ref={box} role="img" aria-label={label} />;
}

const logRange = (_: uPlot, low: number | null, high: number | null): [number, number] => {
  if (low === null || high === null || !(low > 0)) return [1e-6, 1];
  return [
    10 ** Math.floor(Math.log10(low)),
    10 ** Math.max(Math.ceil(Math.log10(high) - 1e-9), Math.floor(Math.log10(low)) + 1),
  ];
};

const linearRange = (_: uPlot, low: number | null, high: number | null): [number, number] => {
  if (low === null || high === null) return [0, 1];
  const pad = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low - pad, high + pad];
};

/** Powers of ten only: the lines between them need no numbers. */
function power(value: number): string {
  const exponent = Math.log10(value);
  return Math.abs(exponent - Math.round(exponent)) < 1e-9 ? `1e${Math.round(exponent)}` : "";
}

/** Each line ends with its name; names do not lie over each other. */
function names(u: uPlot, series: readonly Drawn[], colour: (each: Drawn) => string, font: string): void {
  const ratio = uPlot.pxRatio;
  const ends: { y: number; each: Drawn }[] = [];
  series.forEach((each, n) => {
    if (!each.isShown || each.isGrey) return;
    const last = (u.data[n + 1] as (number | null | undefined)[]).findLast(
      (value) => value !== null && value !== undefined,
    );
    if (last !== undefined && last !== null) ends.push({ y: u.valToPos(last, "y", true), each });
  });
  ends.sort((a, b) => a.y - b.y);
  const gap = NAME_PX * ratio;
  for (let n = 1; n < ends.length; n++) ends[n]!.y = Math.max(ends[n]!.y, ends[n - 1]!.y + gap);
  const bottom = u.bbox.top + u.bbox.height;
  for (let n = ends.length - 1, low = bottom; n >= 0; n--, low -= gap) ends[n]!.y = Math.min(ends[n]!.y, low);
  const { ctx } = u;
  ctx.save();
  ctx.font = font.replace("12px", `${12 * ratio}px`);
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  for (const { y, each } of ends) {
    ctx.fillStyle = colour(each);
    ctx.fillText(
      each.label.length > 9 ? `${each.label.slice(0, 8)}…` : each.label,
      u.bbox.left + u.bbox.width + 6 * ratio,
      y,
    );
  }
  ctx.restore();
}

/** Ticks on top where a value was no number. */
function oddities(u: uPlot, odd: readonly number[], colour: string): void {
  const { ctx } = u;
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.fillStyle = colour;
  for (const x of odd) {
    const at = u.valToPos(x, "x", true);
    if (at >= u.bbox.left && at <= u.bbox.left + u.bbox.width)
      ctx.fillRect(at - ratio, u.bbox.top - 6 * ratio, 2 * ratio, 6 * ratio);
  }
  ctx.restore();
}
