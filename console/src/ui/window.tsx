/** Rows of one height, of which only those in view exist. Any number of them: see lib/scroll.ts. */

import type { ComponentChildren, RefObject } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Scroll } from "../lib/scroll";

export type WindowHandle = { show: (index: number) => void; first: number; last: number };

type Props = {
  count: number;
  row: number; // height, px
  render: (index: number) => ComponentChildren;
  onView?: (first: number, last: number) => void; // rows that are seen; called after the scroll
  handle?: RefObject<WindowHandle>;
  role?: "rowgroup" | "list" | "presentation";
  label?: string;
  class?: string;
  kept?: number; // a row that exists also out of view: it has the focus
  tabIndex?: number; // -1 where a row takes the focus instead
};

const AROUND = 4; // rows beyond the view, for the next frame
const SETTLE_MS = 150;

export function Window({
  count,
  row,
  render,
  onView,
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
  const first = Math.max(0, Math.floor(scroll.top / row) - AROUND);
  const last = Math.min(count - 1, Math.ceil((scroll.top + view) / row) + AROUND);

  useEffect(() => onView?.(first, last), [first, last, onView]);
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
  if (handle) handle.current = { show, first, last };

  const onScroll = (): void => {
    scroll.scrolled(box.current!.scrollTop);
    redraw((n) => n + 1);
    clearTimeout(settling.current);
    settling.current = setTimeout(() => {
      if (box.current) box.current.scrollTop = scroll.settle();
    }, SETTLE_MS);
  };

  const rows: ComponentChildren[] = [];
  const put = (index: number): void => {
    rows.push(
      <div
        key={index}
        role="presentation"
        class="window-row"
        style={{ height: `${row}px`, top: `${index * row - scroll.top}px` }}
      >
        {render(index)}
      </div>,
    );
  };
  const isKept = kept !== undefined && kept >= 0 && kept < count;
  if (isKept && kept < first) put(kept);
  for (let index = first; index <= last; index++) put(index);
  if (isKept && kept > last) put(kept);
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
        <div class="window-layer" role="presentation" style={{ height: `${Math.min(view, scroll.height || view)}px` }}>
          {rows}
        </div>
      </div>
    </div>
  );
}
