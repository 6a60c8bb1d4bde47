/**
 * Which lines of a log are in view. Heights of lines that are not drawn are guessed, so one moves by
 * pixels from a line that is known, and the thumb of the scroll bar tells a share of the bytes.
 */

import type { Line, LogBook } from "./logbook";

/** The byte that is seen first, and how many pixels of its line are above the view; or the end. */
export type Place = { at: number; above: number } | "end";
export type Heights = (line: Line) => number;

export type Filled = {
  lines: Line[];
  top: number; // of the first line, px below the top of the view: 0 or less
  isEnd: boolean; // the last line is seen
  isWaiting: boolean; // some of it is being loaded
};

export function fill(book: LogBook, place: Place, view: number, height: Heights): Filled {
  if (place === "end") return fromEnd(book, view, height);
  const lines: Line[] = [];
  let used = -place.above;
  let line = book.lineAt(place.at);
  while (line && used < view) {
    lines.push(line);
    used += height(line);
    line = book.after(line);
  }
  const last = lines.at(-1);
  if (used < view && last && last.end >= (book.size ?? 0)) return fromEnd(book, view, height);
  return { lines, top: -place.above, isEnd: false, isWaiting: used < view };
}

function fromEnd(book: LogBook, view: number, height: Heights): Filled {
  const lines: Line[] = [];
  let used = 0;
  let line = book.last();
  while (line && used < view) {
    lines.push(line);
    used += height(line);
    line = book.before(line);
  }
  lines.reverse();
  const isWhole = used >= view || lines[0]?.start === 0 || book.size === 0;
  return { lines, top: Math.min(0, view - used), isEnd: isWhole, isWaiting: !isWhole };
}

/** So many pixels further; less than nothing is up. */
export function moved(book: LogBook, filled: Filled, px: number, view: number, height: Heights): Place {
  const first = filled.lines[0];
  if (!first) return "end";
  if (px > 0 && filled.isEnd) return "end";
  let line = first;
  let above = px - filled.top;
  while (above < 0) {
    const before = book.before(line);
    if (!before) {
      above = 0;
      break;
    }
    line = before;
    above += height(line);
  }
  while (above >= height(line)) {
    const after = book.after(line);
    if (!after) break;
    above -= height(line);
    line = after;
  }
  const place = { at: line.start, above };
  return px > 0 && fill(book, place, view, height).isEnd ? "end" : place;
}

/** How many rows of characters a line takes where lines are wrapped. */
export const rowsOf = (length: number, columns: number): number =>
  Math.max(1, Math.ceil(length / Math.max(1, columns)));
