/** The part of a log that is seen. The thumb of its scroll bar is a share of the bytes; all else moves by lines. */

import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { MOST_PX, SMALL } from "../../lib/scroll";
import type { Line, LogBook } from "./logbook";
import { fill, moved, rowsOf, type Filled, type Place } from "./logview";
import { spansOf } from "./lines";
import { hits, marked, shownLine, type Shown } from "./text";

const ROW = 18;
const SETTLE_MS = 150;
const MOST_TEXTS = 2_000;

/** What is marked: a text wherever it is, or of a pattern the hit in each line that is known, by its first byte. */
export type Wanted = { q: string; isExact: boolean; found: Map<number, string> | null };

export type ViewerHandle = {
  to: (place: Place) => void;
  show: (at: number) => void; // brings a byte's line into view, a third from the top
  top: () => Line | null;
  focus: () => void;
};

type Props = {
  book: LogBook;
  version: number; // another when there is more
  start: Place;
  isWrapped: boolean;
  current: number | null; // the byte that the address names
  wanted: Wanted;
  handle: RefObject<ViewerHandle>;
  onEnd: (isEnd: boolean) => void; // whether one is at the end
  onTop: (line: Line | null) => void;
  onLine: (line: Line) => void; // somebody chose it
  onWhole: (line: Line) => void; // all of a long line is wanted
  children?: ComponentChildren;
};

export function Viewer(props: Props) {
  const { book, isWrapped, current, wanted, handle } = props;
  const box = useRef<HTMLDivElement>(null);
  const probe = useRef<HTMLSpanElement>(null);
  const place = useRef<Place>(props.start);
  const at = useRef(0);
  const widest = useRef(0);
  const settling = useRef<ReturnType<typeof setTimeout>>();
  const [view, setView] = useState({ height: 0, width: 0, letter: 8 });
  const [, redraw] = useState(0);
  const texts = useTexts(book);

  useLayoutEffect(() => {
    const measure = (): void => {
      const { clientHeight: height, clientWidth: width } = box.current!;
      setView({ height, width, letter: probe.current!.getBoundingClientRect().width / 100 || 8 });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => () => clearTimeout(settling.current), []);

  const digits = 8;
  const columns = Math.floor((view.width - (digits + 3) * view.letter - 8) / view.letter);
  const height = (line: Line): number => (isWrapped ? rowsOf(texts(line).text.length, columns) * ROW : ROW);
  const filled: Filled = fill(book, place.current, view.height, height);
  const size = book.size ?? 0;
  const total = Math.max(view.height, Math.min((size / book.perLine) * ROW, MOST_PX));
  const room = Math.max(0, total - view.height);

  const settle = (): void => {
    const element = box.current;
    if (!element) return;
    const here = place.current;
    const isStart = here !== "end" && here.at === 0 && here.above === 0;
    const goal =
      here === "end" ? room : isStart ? 0 : Math.min(room - 1, Math.max(1, (here.at / Math.max(1, size)) * room));
    element.scrollTop = goal;
    at.current = element.scrollTop;
  };
  const to = (goal: Place): void => {
    place.current = goal;
    settle();
    redraw((n) => n + 1);
  };
  const show = (byte: number): void => {
    const seen = filled.lines.find((line) => line.start <= byte && byte < line.end);
    if (seen && seen !== filled.lines[0] && seen !== filled.lines.at(-1)) return redraw((n) => n + 1);
    // A third of the view above it, once it is there: `above` may be negative until it is drawn.
    to({ at: byte, above: -Math.round(view.height / 3 / ROW) * ROW });
  };
  if (handle) handle.current = { to, show, top: () => filled.lines[0] ?? null, focus: () => box.current?.focus() };

  // A place that is above its line is brought to the line that is seen first.
  const here = place.current;
  if (here !== "end" && here.above < 0) {
    const line = book.lineAt(here.at);
    if (line) {
      const only: Filled = { lines: [line], top: 0, isEnd: false, isWaiting: false };
      place.current = moved(book, only, here.above, view.height, height);
      Object.assign(filled, fill(book, place.current, view.height, height));
    }
  }
  const isEnd = filled.isEnd;
  if (isEnd && place.current !== "end" && size > 0 && filled.top === 0 && total > view.height) place.current = "end";

  useLayoutEffect(() => {
    if (place.current === "end") settle();
  }, [props.version, view, room]);
  useEffect(() => props.onEnd(isEnd), [isEnd]);
  const first = filled.lines[0]?.start;
  useEffect(() => props.onTop(filled.lines[0] ?? null), [first, filled.lines[0]?.number]);

  const onScroll = (): void => {
    const now = box.current!.scrollTop;
    const by = now - at.current;
    if (Math.abs(by) < 1) return;
    at.current = now;
    const isJump = Math.abs(by) > SMALL * view.height || filled.lines.length === 0;
    if (isJump)
      place.current = now >= room - 1 ? "end" : { at: now <= 0 ? 0 : Math.floor((now / room) * size), above: 0 };
    else {
      place.current = moved(book, filled, by, view.height, height);
      const isAtEdge = now >= room - 1 || now <= 0;
      if (isAtEdge) settle(); // the bar has come to its end before the lines have: there is more
    }
    redraw((n) => n + 1);
    clearTimeout(settling.current);
    settling.current = setTimeout(settle, SETTLE_MS);
  };

  if (!isWrapped) for (const line of filled.lines) widest.current = Math.max(widest.current, texts(line).text.length);
  const width = isWrapped ? "100%" : `max(100%, ${(widest.current + digits + 4) * view.letter}px)`;
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls takes the focus
    <div class="log-view" ref={box} onScroll={onScroll} role="log" aria-live="off" aria-label="Log" tabIndex={0}>
      <span class="log-probe mono" ref={probe} aria-hidden="true">
        {"0".repeat(100)}
      </span>
      <div class="log-height" style={{ height: `${total}px`, width }}>
        <div class="log-layer" style={{ height: `${view.height}px` }}>
          <div style={{ transform: `translateY(${filled.top}px)` }}>
            {filled.lines.map((line) => (
              <Row
                key={line.start}
                line={line}
                shown={texts(line)}
                isWrapped={isWrapped}
                isCurrent={current !== null && line.start <= current && current < line.end}
                wanted={wanted}
                onLine={props.onLine}
                onWhole={props.onWhole}
              />
            ))}
            {filled.isWaiting && !book.error && size > 0 ? <div class="log-line faint">Loading …</div> : null}
            {props.children}
          </div>
        </div>
      </div>
    </div>
  );
}

type RowProps = {
  line: Line;
  shown: Shown;
  isWrapped: boolean;
  isCurrent: boolean;
  wanted: Wanted;
  onLine: (line: Line) => void;
  onWhole: (line: Line) => void;
};

function Row({ line, shown, isWrapped, isCurrent, wanted, onLine, onWhole }: RowProps) {
  const all = spansOf(shown);
  const text = all.map((span) => span.text).join("");
  const found = wanted.found
    ? hits(text, wanted.found.get(line.start) ?? "", true)
    : hits(text, wanted.q, wanted.isExact);
  return (
    <div
      class={`log-line ${isWrapped ? "wrapped" : ""} ${isCurrent ? "current" : ""}`}
      {...(isCurrent ? { "aria-current": "true" as const } : {})}
    >
      <button
        type="button"
        class="log-number"
        tabIndex={-1}
        title={`Byte ${line.start}: link to this line`}
        onClick={() => onLine(line)}
      >
        {line.number ?? "·"}
      </button>
      <span class="log-text">
        {marked(all, found).map((span, n) =>
          span.isHit ? (
            <mark key={n}>{span.text}</mark>
          ) : span.tone || span.isBold ? (
            <span key={n} class={`${span.tone ? `ansi-${span.tone}` : ""} ${span.isBold ? "bold" : ""}`}>
              {span.text}
            </span>
          ) : (
            span.text
          ),
        )}
        {shown.isCut ? (
          <button type="button" class="log-more" onClick={() => onWhole(line)}>
            … show the whole line
          </button>
        ) : null}
      </span>
    </div>
  );
}

/** Decoded lines, kept while they may be drawn again. */
function useTexts(book: LogBook): (line: Line) => Shown {
  const kept = useRef(new Map<string, Shown>());
  const of = useRef(book);
  if (of.current !== book) {
    of.current = book;
    kept.current.clear();
  }
  return (line) => {
    const key = `${book.generation}-${line.start}-${line.end}`;
    let found = kept.current.get(key);
    if (!found) {
      if (kept.current.size > MOST_TEXTS) kept.current.clear();
      found = shownLine(book.bytes(line));
      kept.current.set(key, found);
    }
    return found;
  };
}
