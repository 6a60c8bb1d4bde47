/** A line of a log as it is shown: what a terminal would have left of it, as text and nothing else. */

export const MOST_SHOWN = 4096;

const decoder = new TextDecoder();
// What a terminal obeys: CSI, OSC and the like, and single-letter escapes.
// oxlint-disable-next-line no-control-regex -- these are what is looked for
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;
// oxlint-disable-next-line no-control-regex -- these are what is looked for
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

export type Shown = { text: string; isCut: boolean; hasColour: boolean };

/** Of a line that was overwritten with "\r", the last state that it had. */
export function lastState(text: string): string {
  const parts = text.replace(/\r+$/, "").split("\r");
  return parts.findLast((part) => part.replace(ESCAPES, "") !== "") ?? "";
}

export function shownLine(bytes: Uint8Array, most = MOST_SHOWN): Shown {
  // Four bytes a character at most; the state that counts is at the end.
  const text = lastState(decoder.decode(bytes));
  const isCut = text.length > most;
  const cut = isCut ? text.slice(0, most) : text;
  return { text: cut, isCut, hasColour: cut.includes("\x1b[") };
}

/** Without colours and whatever else a terminal would obey; control characters are made visible. */
export function plain(text: string): string {
  return text
    .replace(ESCAPES, "")
    .replace(CONTROLS, (c) => {
      if (c > "\x7f") return "\ufffd"; // these have no picture
      return String.fromCharCode(c === "\x7f" ? 0x2421 : 0x2400 + c.charCodeAt(0));
    });
}

export type Span = { text: string; tone: string; isBold: boolean };

type Entry = { content: string; fg: string | null; fg_truecolor?: string | null; decorations: string[] };

/** What anser found, in colours that can be read on our background. */
export function spans(entries: readonly Entry[]): Span[] {
  return entries
    .map((entry) => ({
      text: plain(entry.content),
      tone: tone(entry.fg, entry.fg_truecolor),
      isBold: entry.decorations.includes("bold"),
    }))
    .filter((span) => span.text !== "");
}

/** One of our few tones for "12, 34, 56", as anser gives colours without classes. */
function tone(colour: string | null | undefined, exact: string | null | undefined): string {
  const [r = 0, g = 0, b = 0] = (exact || colour || "").split(",").map(Number);
  if (!colour || [r, g, b].some(Number.isNaN)) return "";
  const most = Math.max(r, g, b);
  const range = most - Math.min(r, g, b);
  if (range < 48) return most < 160 && most > 0 ? "grey" : "";
  const sixth = most === r ? ((g - b) / range + 6) % 6 : most === g ? (b - r) / range + 2 : (r - g) / range + 4;
  return ["red", "yellow", "green", "cyan", "blue", "violet"][Math.round(sixth) % 6]!;
}

/** Where a text is in a line, for marking: [start, end) in characters. */
export function hits(text: string, wanted: string, isExact: boolean): [number, number][] {
  if (!wanted) return [];
  const line = isExact ? text : text.toLowerCase();
  const needle = isExact ? wanted : wanted.toLowerCase();
  const found: [number, number][] = [];
  for (let at = line.indexOf(needle); at >= 0 && found.length < 50; at = line.indexOf(needle, at + needle.length)) {
    found.push([at, at + needle.length]);
  }
  return found;
}

/** Spans cut at the edges of hits: what a marked line is drawn from. */
export function marked(all: readonly Span[], found: readonly [number, number][]): (Span & { isHit: boolean })[] {
  const result: (Span & { isHit: boolean })[] = [];
  let at = 0;
  for (const span of all) {
    const end = at + span.text.length;
    const edges = new Set([at, end]);
    for (const hit of found) for (const edge of hit) if (edge > at && edge < end) edges.add(edge);
    const sorted = [...edges].sort((a, b) => a - b);
    for (let n = 1; n < sorted.length; n++) {
      const [from, to] = [sorted[n - 1]!, sorted[n]!];
      const isHit = found.some(([first, last]) => from >= first && to <= last);
      result.push({ ...span, text: span.text.slice(from - at, to - at), isHit });
    }
    at = end;
  }
  return result;
}
