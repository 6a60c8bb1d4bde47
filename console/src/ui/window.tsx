/**
 * Rows of one height, of which only those in and near the view exist. Any number of them: see lib/scroll.ts.
 * They lie where the browser scrolls them by itself; a frame costs something only where rows come.
 */

import type { ComponentChildren, RefObject } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Scroll } from "../lib/scroll";

export type WindowHandle = {
  show: (index: number) => void;
  first: number; // of the rows that exist
  last: number;
  page: number; // rows that are seen
};

type Props = {
  count: number;
  row: number; // height, px
  render: (index: number) => ComponentChildren;
  onNear?: (first: number, last: number) => void; // rows that exist, also somewhat out of view
  handle?: RefObject<WindowHandle>;
  role?: "rowgroup" | "list" | "presentation";
  label?: string;
  class?: string;
  kept?: number; // a row that exists also out of view: it has the focus
  tabIndex?: number; // -1 where a row takes the focus instead
};

type Near = { first: number; last: number; shift: number }; // rows, and how far the list is from the element, px

const AROUND = 6; // rows beyond the view: the browser moves on before it tells
const STEP = 4; // rows that come at a time
const SETTLE_MS = 150;

export function Window({
  count,
  row,
  render,
  onNear,
  handle,
  role = "presentation",
  label,
  class: more,
  kept,
  tabIndex = 0,
}: Props) {
  const box = useRef<HTMLDivElement>(null);
  const scroll = useRef(new Scroll()).current;
  const [view, setView] = useState(0);
  const [, redraw] = useState(0);
  const settling = useRef<ReturnType<typeof setTimeout>>();

  useLayoutEffect(() => {
    const measure = (): void => setView(box.current!.clientHeight);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);

  scroll.resize(count * row, view);
  const near = (): Near => {
    const from = Math.floor(scroll.top / row) - AROUND;
    const to = Math.ceil((scroll.top + view) / row) + AROUND;
    return {
      first: Math.max(0, Math.floor(from / STEP) * STEP),
      last: Math.min(count - 1, Math.ceil(to / STEP) * STEP),
      shift: scroll.shift,
    };
  };
  const drawn = useRef<Near>();
  drawn.current = near();
  const { first, last, shift } = drawn.current;

  useEffect(() => onNear?.(first, last), [first, last, onNear]);
  useEffect(() => () => clearTimeout(settling.current), []);

  const show = useCallback(
    (index: number): void => {
      const top = index * row;
      if (top >= scroll.top && top + row <= scroll.top + view) return;
      const goal = top < scroll.top ? top : top + row - view;
      box.current!.scrollTop = scroll.to(goal);
      redraw((n) => n + 1);
    },
    [row, view, scroll],
  );
  if (handle) handle.current = { show, first, last, page: Math.max(1, Math.floor(view / row)) };

  const moved = (): void => {
    const now = near();
    const { first: from, last: to, shift: by } = drawn.current!;
    if (now.first !== from || now.last !== to || now.shift !== by) redraw((n) => n + 1);
  };
  const onScroll = (): void => {
    scroll.scrolled(box.current!.scrollTop);
    moved();
    if (!scroll.isScaled) return;
    clearTimeout(settling.current);
    settling.current = setTimeout(() => {
      if (!box.current) return;
      box.current.scrollTop = scroll.settle();
      moved();
    }, SETTLE_MS);
  };

  const rows: ComponentChildren[] = [];
  const put = (index: number, isFar = false): void => {
    rows.push(
      <div
        key={index}
        role="presentation"
        class="window-row"
        style={{ height: `${row}px`, top: `${Math.max(0, Math.min(index * row - shift, scroll.height - row))}px` }}
        {...(isFar ? { onFocusIn: () => show(index) } : {})}
      >
        {render(index)}
      </div>,
    );
  };
  const isKept = kept !== undefined && kept >= 0 && kept < count;
  if (isKept && kept < first) put(kept, true);
  for (let index = first; index <= last; index++) put(index);
  if (isKept && kept > last) put(kept, true);
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls takes the focus
    <div
      class={`window ${more ?? ""}`}
      ref={box}
      onScroll={onScroll}
      role={role}
      {...(label ? { "aria-label": label } : {})}
      tabIndex={tabIndex}
    >
      <div class="window-height" role="presentation" style={{ height: `${scroll.height}px` }}>
        {rows}
      </div>
    </div>
  );
}
