/** Series of a run as they are charted: NaN is a gap, a quantity has its colour, and live points go behind. */

import type { SeriesData } from "../../api/types";

export type Value = number | string | null; // "NaN", "Infinity", "-Infinity"
export type Rows = { index: number; x: number[]; values: Record<string, Value[]>; missed?: number; isNew?: boolean };

/** Points of one series, by x. */
export type Curve = { x: number[]; y: Value[] };
export type Curves = Map<string, Curve>;

export const curvesOf = (data: SeriesData): Curves =>
  new Map(Object.entries(data.keys).map(([key, points]) => [key, { x: [...points.x], y: [...points.last] }]));

/** With points that have come since; the last one that is there may take another value. */
export function extended(curves: Curves, rows: Rows): Curves {
  const result: Curves = rows.isNew ? new Map() : new Map(curves);
  for (const [key, values] of Object.entries(rows.values)) {
    const known = result.get(key);
    const curve: Curve = known ? { x: [...known.x], y: [...known.y] } : { x: [], y: [] };
    values.forEach((value, n) => {
      const x = rows.x[n]!;
      if (value === null) return;
      const last = curve.x.at(-1);
      if (last !== undefined && x < last) return; // it is there, or in a bucket
      if (x === last) curve.y[curve.y.length - 1] = value;
      else {
        curve.x.push(x);
        curve.y.push(value);
      }
    });
    result.set(key, curve);
  }
  return result;
}

export type Aligned = {
  x: number[];
  y: (number | null | undefined)[][]; // null: a gap; undefined: nothing is said of this x
  odd: number[]; // x at which some series was no finite number
};

/**
 * Curves over one x. What cannot be drawn (NaN, infinities; on a logarithmic scale what is not above 0)
 * is a gap.
 */
export function aligned(curves: readonly Curve[], isLog: boolean): Aligned {
  const x = [...new Set(curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
  const place = new Map(x.map((value, n) => [value, n]));
  const odd = new Set<number>();
  const y = curves.map((curve) => {
    const values: (number | null | undefined)[] = Array.from({ length: x.length }, () => undefined);
    curve.x.forEach((at, n) => {
      const value = curve.y[n]!;
      const isNumber = typeof value === "number" && Number.isFinite(value);
      if (!isNumber) odd.add(at);
      values[place.get(at)!] = isNumber && (!isLog || value > 0) ? value : null;
    });
    return values;
  });
  return { x, y, odd: [...odd].sort((a, b) => a - b) };
}

// Quantities of the field in the order of their colours; what excludes each other shares one.
const ORDER: readonly (readonly string[])[] = [
  ["p", "p_rgh", "pressure", "Cd", "force"],
  ["Ux", "U", "Cl", "x"],
  ["Uy", "Cm", "CmPitch", "y"],
  ["Uz", "z"],
  ["k", "nuTilda", "nuTilde"],
  ["epsilon", "omega", "T", "h", "e"],
];
const COLOURS = 6;
const DASHES = [[], [6, 3], [2, 2], [8, 2, 2, 2]];

export type Look = { colour: number; dash: number[] };

/** A quantity looks the same wherever it is drawn; others take what is free, in their order. */
export function looks(labels: readonly string[]): Look[] {
  const taken = new Set<number>();
  const places = labels.map((label) => {
    const known = ORDER.findIndex((names) => names.includes(label));
    if (known < 0 || taken.has(known)) return -1;
    taken.add(known);
    return known;
  });
  let free = 0;
  return places.map((known) => {
    let place = known;
    if (place < 0) {
      while (taken.has(free)) free += 1;
      place = free;
      taken.add(place);
    }
    return { colour: (place % COLOURS) + 1, dash: DASHES[Math.floor(place / COLOURS) % DASHES.length]! };
  });
}

/** A table for a spreadsheet: x, then a column for each series. */
export function csv(names: readonly string[], curves: readonly Curve[]): string {
  const quoted = (text: string): string => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const rows = new Map<number, (Value | undefined)[]>();
  curves.forEach((curve, n) => {
    curve.x.forEach((x, at) => {
      const row = rows.get(x) ?? rows.set(x, []).get(x)!;
      row[n] = curve.y[at];
    });
  });
  const lines = [...rows]
    .sort(([a], [b]) => a - b)
    .map(([x, row]) => [x, ...names.map((_, n) => row[n] ?? "")].join(","));
  return [["x", ...names.map(quoted)].join(","), ...lines].join("\n") + "\n";
}
