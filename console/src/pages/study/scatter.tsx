/** Any column against any other. The table beside it has the same runs for those who do not see it. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { number } from "../../lib/format";
import { resolved, useTheme } from "../../lib/media";
import { extent, numeric, padded, ticks, valueOf, type Run } from "./data";

type Props = {
  runs: readonly Run[];
  x: string;
  y: string;
  xName: string;
  yName: string;
  hovered: string;
  onHover: (id: string) => void;
  onOpen: (id: string) => void;
};

const LEFT = 64;
const BOTTOM = 36;
const ROOM = 12;
const NEAR_PX = 14;

type Point = { run: Run; x: number; y: number };

export function Scatter({ runs, x, y, xName, yName, hovered, onHover, onOpen }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [size, resize] = useState({ width: 0, height: 0 });
  const theme = useTheme();
  const points = useMemo(() => {
    const found: Point[] = [];
    for (const run of runs) {
      const [a, b] = [numeric(valueOf(run, x)), numeric(valueOf(run, y))];
      if (a !== null && b !== null) found.push({ run, x: a, y: b });
    }
    return found;
  }, [runs, x, y]);
  const range = useMemo(() => [extent(points.map((p) => p.x)), extent(points.map((p) => p.y))] as const, [points]);

  useEffect(() => {
    const observer = new ResizeObserver(() => {
      resize({ width: box.current!.clientWidth, height: box.current!.clientHeight });
    });
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);

  const [xRange, yRange] = range;
  const [[x0, x1], [y0, y1]] = [padded(xRange), padded(yRange)];
  const px = (value: number): number => LEFT + ((value - x0) / (x1 - x0)) * (size.width - LEFT - ROOM);
  const py = (value: number): number =>
    size.height - BOTTOM - ((value - y0) / (y1 - y0)) * (size.height - BOTTOM - ROOM);

  useEffect(() => {
    if (!size.width) return;
    const element = canvas.current!;
    const ratio = window.devicePixelRatio || 1;
    element.width = size.width * ratio;
    element.height = size.height * ratio;
    const pen = element.getContext("2d")!;
    pen.scale(ratio, ratio);
        const ink = (name: string): string => resolved(element, `var(--${name})`);
    pen.font = `12px ${getComputedStyle(element).fontFamily}`;
    pen.fillStyle = ink("text-2");
    pen.strokeStyle = ink("hairline");
    pen.textAlign = "center";
    for (const tick of ticks(x0, x1, Math.max(2, Math.floor(size.width / 100)))) {
      line(pen, px(tick), ROOM, px(tick), size.height - BOTTOM);
      pen.fillText(number(tick), px(tick), size.height - BOTTOM + 14);
    }
    pen.textAlign = "right";
    for (const tick of ticks(y0, y1, Math.max(2, Math.floor(size.height / 60)))) {
      line(pen, LEFT, py(tick), size.width - ROOM, py(tick));
      pen.fillText(number(tick), LEFT - 6, py(tick) + 4);
    }
    const inks: Record<string, string> = { done: ink("series-1"), failed: ink("bad"), stopped: ink("draft") };
    const other = ink("series-6");
    const radius = points.length > 2000 ? 2 : 4;
    for (const point of points) {
      pen.fillStyle = pen.strokeStyle = inks[point.run.status] ?? other;
      mark(pen, px(point.x), py(point.y), radius, point.run.status);
    }
    const lit = points.find((point) => point.run.id === hovered);
    pen.strokeStyle = ink("text");
    pen.lineWidth = 2;
    for (const point of points) if (point.run.isOptimal) ring(pen, px(point.x), py(point.y), radius + 3);
    if (lit) ring(pen, px(lit.x), py(lit.y), radius + 5);
  }, [points, size, theme, hovered]);

  const nearest = (event: MouseEvent): Point | undefined => {
    const at = canvas.current!.getBoundingClientRect();
    const [mx, my] = [event.clientX - at.left, event.clientY - at.top];
    let best: Point | undefined;
    let closest = NEAR_PX ** 2;
    for (const point of points) {
      const d = (px(point.x) - mx) ** 2 + (py(point.y) - my) ** 2;
      if (d < closest) [best, closest] = [point, d];
    }
    return best;
  };
  const lit = points.find((point) => point.run.id === hovered);
  const summary = points.length
    ? `${yName} against ${xName}: ${points.length} of ${runs.length} runs; ` +
      `${xName} from ${number(xRange[0])} to ${number(xRange[1])}, ` +
      `${yName} from ${number(yRange[0])} to ${number(yRange[1])}.`
    : `No run has both ${xName} and ${yName} yet.`;
  return (
    <figure class="stack-small">
      <div class="scatter" ref={box}>
        <canvas
          ref={canvas}
          role="img"
          aria-label={summary}
          onMouseMove={(event) => onHover(nearest(event)?.run.id ?? "")}
          onMouseLeave={() => onHover("")}
          onClick={(event) => {
            const found = nearest(event);
            if (found) onOpen(found.run.id);
          }}
        />
      </div>
      <figcaption class="quiet">
        {lit ? `Run ${lit.run.id}: ${xName} ${number(lit.x)}, ${yName} ${number(lit.y)}` : summary}
      </figcaption>
    </figure>
  );
}

function line(pen: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

/** A disc for what is done, a cross for what failed: not by colour alone. */
function mark(pen: CanvasRenderingContext2D, x: number, y: number, r: number, status: string): void {
  if (status === "failed" || status === "stopped") {
    line(pen, x - r, y - r, x + r, y + r);
    line(pen, x - r, y + r, x + r, y - r);
    return;
  }
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.fill();
}

function ring(pen: CanvasRenderingContext2D, x: number, y: number, r: number): void {
  pen.beginPath();
  pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.stroke();
}
