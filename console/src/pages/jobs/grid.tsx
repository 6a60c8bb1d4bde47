/** The table of jobs: one row has the focus, arrows move it, and only the rows in view exist. */

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { JobRow } from "../../api/types";
import { useKeys } from "../../lib/keys";
import { COARSE, PHONE, useMedia } from "../../lib/media";
import type { Item } from "../../ui/menu";
import { Button, useNow } from "../../ui/parts";
import { Window, type WindowHandle } from "../../ui/window";
import type { Feed } from "./feed";
import { Cells } from "./row";
import type { Selection } from "./selection";
import type { SparkBook } from "./sparks";

const COLUMNS = [
  ["c-state", "State"],
  ["c-name", "Name"],
  ["c-analysis", "Analysis"],
  ["c-progress", "Progress"],
  ["c-cores number", "Cores"],
  ["c-elapsed number", "Elapsed"],
  ["c-started", "Started"],
  ["c-cost number", "Cost"],
] as const;

type Props = {
  feed: Feed;
  sparks: SparkBook;
  selection: Selection;
  choose: (selection: Selection) => void;
  onMissing: (count: number) => void; // rows of a range that are not fetched
  chooseAll: () => void;
  no: string; // why nothing can be changed now
  items: (row: JobRow) => Item[];
  open: (row: JobRow) => void;
  keys: { keys: string; label: string; run: (row: JobRow) => void }[];
  handle: { current: GridHandle | null };
};

export type GridHandle = { toTop: () => void };

export function Grid({ feed, sparks, selection, choose, onMissing, chooseAll, no, items, open, keys, handle }: Props) {
  const tick = feed.tick.value;
  void sparks.tick.value; // drawn anew with them
  const [active, setActive] = useState({ index: 0 }); // another object each time: the focus is put there again
  const isMoved = useRef(false);
  const view = useRef<WindowHandle>(null);
  const box = useRef<HTMLDivElement>(null);
  const isPhone = useMedia(PHONE);
  const isCoarse = useMedia(COARSE);
  const height = isPhone ? 64 : isCoarse ? 44 : 28;
  const book = feed.book!;
  const count = book.size;
  const at = Math.min(active.index, Math.max(0, count - 1));
  const isTicking = useMemo(() => book.rows().some((row) => row.startedAt && !row.endedAt), [tick]);
  const now = useNow(1000, isTicking);
  // What is drawn is that of the last render, also where a callback is older.
  const newest = useRef({ selection, at, count });
  newest.current = { selection, at, count };

  const go = (index: number, isRange = false): void => {
    const to = Math.max(0, Math.min(index, count - 1));
    isMoved.current = true;
    if (isRange) extend(to);
    setActive({ index: to });
    view.current?.show(to);
  };
  const extend = (to: number): void => {
    const { selection: before, at: from } = newest.current;
    const begun = before.anchor === null ? before.anchored(from) : before;
    const [after, missing] = begun.ranged(to, (n) => feed.book?.row(n)?.id);
    choose(after);
    if (missing) onMissing(missing);
  };
  useLayoutEffect(() => {
    if (!isMoved.current) return;
    isMoved.current = false;
    document.getElementById(rowId(at))?.focus({ preventScroll: true });
  });
  handle.current = {
    toTop: () => {
      setActive({ index: 0 });
      view.current?.show(0);
    },
  };

  const toggle = (index: number): void => {
    const row = feed.book?.row(index);
    if (row) choose(newest.current.selection.toggled(row.id, index, feed.book!.rows().map((each) => each.id)));
  };
  const acts = useRef({ toggle, extend });
  acts.current = { toggle, extend };
  const onPick = useCallback((index: number, event: MouseEvent | KeyboardEvent) => {
    const isBox = event.target instanceof HTMLInputElement;
    if (event.shiftKey) acts.current.extend(index);
    else if (isBox || event.ctrlKey || event.metaKey) acts.current.toggle(index);
    setActive({ index });
  }, []);
  const onNear = useCallback((first: number, last: number) => {
    feed.look(first, last);
    sparks.look(first, last);
  }, [feed, sparks]);
  useEffect(() => {
    if (view.current) onNear(view.current.first, view.current.last);
  }, [tick]);

  const here = (run: (row: JobRow) => void) => () => {
    const row = book.row(at);
    if (row) run(row);
  };
  useKeys([
    { keys: "j", label: "Next job", group: "Jobs", run: () => go(isIn(box.current) ? at + 1 : at), isHidden: true },
    { keys: "k", label: "Job before", group: "Jobs", run: () => go(isIn(box.current) ? at - 1 : at), isHidden: true },
    { keys: "J", label: "Select also the next job", group: "Jobs", run: () => go(at + 1, true), isHidden: true },
    { keys: "K", label: "Select also the job before", group: "Jobs", run: () => go(at - 1, true), isHidden: true },
    { keys: "x", label: "Select the job", group: "Jobs", run: () => toggle(at), isHidden: true },
    { keys: ".", label: "Actions for the job", group: "Jobs", run: () => menuOf(at)?.click(), isHidden: true },
    ...keys.map((key) => ({ ...key, group: "Jobs", run: here(key.run) })),
  ]);

  const onKeyDown = (event: KeyboardEvent): void => {
    const row = document.getElementById(rowId(at));
    const isRow = event.target === row;
    const page = view.current?.page ?? 1;
    const moves: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: count - 1,
    };
    if (event.key in moves && !event.altKey && !isTextual(event.target)) go(moves[event.key]!, event.shiftKey);
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") inRow(row, event.key === "ArrowRight" ? 1 : -1);
    else if (isRow && event.key === "Enter") here(open)();
    else if (isRow && event.key === " ") toggle(at);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) chooseAll();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const render = (index: number) => {
    const row = book.row(index);
    const isChosen = row !== undefined && selection.has(row.id);
    const isGone = row !== undefined && feed.gone.has(row.id);
    const isAway = row !== undefined && feed.away.has(row.id);
    return (
      // oxlint-disable-next-line jsx-a11y/click-events-have-key-events -- the grid hears the keys
      <div
        role="row"
        id={rowId(index)}
        class={`job ${isChosen ? "chosen" : ""} ${isGone ? "gone" : isAway ? "away" : ""}`}
        aria-rowindex={index + 2}
        aria-selected={isChosen ? "true" : "false"}
        tabIndex={index === at ? 0 : -1}
        onClick={(event) => {
          if (!(event.target as Element).closest("a, button, input, [role=menu]")) onPick(index, event);
        }}
      >
        {row ? (
          <Cells
            row={row}
            index={index}
            isActive={index === at}
            isChosen={isChosen}
            isGone={isGone}
            spark={sparks.of(row.id)}
            now={row.startedAt && !row.endedAt ? now : 0}
            no={no}
            items={items}
            onPick={onPick}
          />
        ) : (
          <Missing feed={feed} index={index} />
        )}
      </div>
    );
  };

  return (
    <div
      ref={box}
      role="grid"
      aria-label="Jobs"
      aria-rowcount={book.isExact && book.count !== null ? book.count + 1 : -1}
      aria-colcount={COLUMNS.length + 2}
      aria-multiselectable="true"
      aria-busy={feed.isOld ? "true" : "false"}
      class={`jobs-grid ${feed.isOld ? "old" : ""}`}
      tabIndex={-1}
      onKeyDown={onKeyDown}
    >
      <div role="rowgroup" class="jobs-head">
        <div role="row" class="job" aria-rowindex={1}>
          <div role="columnheader" class="c-check">
            <input
              type="checkbox"
              aria-label="Select all"
              tabIndex={isPhone ? -1 : 0}
              checked={selection.isAll}
              ref={(input) => {
                if (input) input.indeterminate = !selection.isAll && !selection.isEmpty;
              }}
              onClick={() => (selection.isEmpty ? chooseAll() : choose(selection.cleared()))}
            />
          </div>
          {COLUMNS.map(([name, label]) => (
            <div key={name} role="columnheader" class={name}>
              {label}
            </div>
          ))}
          <div role="columnheader" class="c-menu">
            <span class="hidden-visually">Actions</span>
          </div>
        </div>
      </div>
      <Window
        count={count}
        row={height}
        render={render}
        onNear={onNear}
        handle={view}
        role="rowgroup"
        label="Jobs"
        kept={at}
        tabIndex={-1}
      />
    </div>
  );
}

/** A row that is not there yet; behind the last one of a search, what the search does. */
function Missing({ feed, index }: { feed: Feed; index: number }) {
  const isEnd = !feed.asked.isCounted && index === feed.book!.size - 1;
  return (
    <div role="gridcell" aria-colspan={COLUMNS.length + 2} class="c-missing">
      {!isEnd ? (
        <>
          <span class="hidden-visually">Loading</span>
          <span class="skeleton" />
        </>
      ) : feed.isPaused ? (
        <Button small onClick={() => feed.goOn()}>
          Nothing found in many older jobs. Search on
        </Button>
      ) : (
        <span class="quiet">{feed.error ? "The search stopped here." : "Searching older jobs"}</span>
      )}
    </div>
  );
}

const rowId = (index: number): string => `job-row-${index}`;
const isIn = (box: HTMLElement | null): boolean => Boolean(box?.contains(document.activeElement));
const menuOf = (index: number): HTMLElement | null =>
  document.getElementById(rowId(index))?.querySelector<HTMLElement>("[aria-haspopup=menu]") ?? null;
const isTextual = (target: EventTarget | null): boolean =>
  target instanceof HTMLInputElement && target.type !== "checkbox";

/** From the row to what can be used in it, and back. */
function inRow(row: HTMLElement | null, step: 1 | -1): void {
  if (!row) return;
  const all = [row, ...row.querySelectorAll<HTMLElement>("input, a, button")].filter(
    (each) => each.offsetParent !== null,
  );
  const at = all.indexOf(document.activeElement as HTMLElement);
  if (at >= 0) all[Math.max(0, Math.min(at + step, all.length - 1))]?.focus();
}
