/**
 * Rows of a list, of which only those near the view are fetched. Two kinds, with the same face:
 * `Pages` knows how many there are and goes to any place; `Growing` is a search, which goes on from
 * where it is.
 */

import type { JobRow, RowsPage } from "../../api/types";

export const PAGE = 100;
const AHEAD = 30; // rows beyond the view that are fetched before they are seen
const PAGES_KEPT = 60;

/** What is asked for next, and where in the list it belongs. */
export type Wanted = { page: number; cursor?: string; at?: number };

export interface Book {
  /** Rows that there is room for in the list. */
  readonly size: number;
  /** How many match; null: not known yet. */
  readonly count: number | null;
  readonly isExact: boolean;
  row(index: number): JobRow | undefined;
  place(id: string): number | undefined;
  rows(): JobRow[];
  /** What has to be fetched for these to be seen, if anything. */
  wants(first: number, last: number): Wanted | null;
  put(wanted: Wanted, page: RowsPage): void;
  /** Puts newer rows in the place of those that are there. Returns whether there was one. */
  update(rows: readonly JobRow[]): boolean;
}

type Kept = RowsPage & { from: string };

/** By number of page. Next to a page that is there a cursor says where to go on, which new jobs do not move. */
export class Pages implements Book {
  count: number | null = null;
  readonly isExact = true;
  private pages = new Map<number, Kept>();
  private places = new Map<string, number>();
  private above = 0; // jobs that came on top since the list was begun

  constructor(private readonly isNewestFirst = true) {}

  get size(): number {
    return this.count ?? 0;
  }

  row(index: number): JobRow | undefined {
    return this.pages.get(Math.floor(index / PAGE))?.rows[index % PAGE];
  }

  place(id: string): number | undefined {
    return this.places.get(id);
  }

  rows(): JobRow[] {
    return [...this.pages.keys()].sort((a, b) => a - b).flatMap((n) => this.pages.get(n)!.rows);
  }

  wants(first: number, last: number): Wanted | null {
    if (this.count === null) return { page: 0 };
    const end = Math.min(last + AHEAD, this.count - 1);
    const from = Math.floor(Math.max(0, first - AHEAD) / PAGE);
    const seen = Math.floor(Math.max(0, first) / PAGE);
    const to = Math.floor(end / PAGE);
    const order = [...range(seen, to), ...range(from, seen - 1)];
    for (const page of order) {
      if (!this.pages.has(page)) return this.way(page);
      // Two parts of the list have met: whether nothing is between them, or twice, is not known.
      if (page > from && this.pages.has(page - 1) && !this.isJoined(page)) {
        return { page, cursor: this.pages.get(page - 1)!.next! };
      }
    }
    return null;
  }

  private way(page: number): Wanted {
    const next = this.pages.get(page - 1)?.next;
    if (next) return { page, cursor: next };
    return page ? { page, at: page * PAGE + this.above } : { page };
  }

  private isJoined(page: number): boolean {
    const before = this.pages.get(page - 1)!;
    return before.next === null || this.pages.get(page)!.from === before.next;
  }

  put(wanted: Wanted, page: RowsPage): void {
    const from = wanted.cursor ?? `at ${wanted.at ?? 0}`;
    if (page.count !== null) {
      if (this.count === null || !this.isNewestFirst) this.count = page.count;
      this.above = Math.max(0, page.count - this.count);
      this.count = Math.min(this.count, page.count);
    }
    this.pages.set(wanted.page, { ...page, from });
    if (page.next === null) this.count = wanted.page * PAGE + page.rows.length;
    this.forget(wanted.page);
    this.index();
  }

  /** The pages that are farthest away; the first stays, where every list begins. */
  private forget(near: number): void {
    const order = [...this.pages.keys()].filter((n) => n > 0).sort((a, b) => Math.abs(b - near) - Math.abs(a - near));
    for (const page of order.slice(0, Math.max(0, this.pages.size - PAGES_KEPT))) this.pages.delete(page);
  }

  private index(): void {
    this.places.clear();
    for (const [n, page] of this.pages) page.rows.forEach((row, k) => this.places.set(row.id, n * PAGE + k));
  }

  update(rows: readonly JobRow[]): boolean {
    let isAny = false;
    for (const row of rows) {
      const index = this.places.get(row.id);
      if (index === undefined) continue;
      this.pages.get(Math.floor(index / PAGE))!.rows[index % PAGE] = row;
      isAny = true;
    }
    return isAny;
  }
}

/** Row after row, as the search finds them. */
export class Growing implements Book {
  count: number | null = null;
  isExact = true;
  private found: JobRow[] = [];
  private places = new Map<string, number>();
  private next: string | null = "";

  get size(): number {
    return this.found.length + (this.next ? 1 : 0); // room for the row that says that it goes on
  }

  row(index: number): JobRow | undefined {
    return this.found[index];
  }

  place(id: string): number | undefined {
    return this.places.get(id);
  }

  rows(): JobRow[] {
    return this.found;
  }

  wants(_first: number, last: number): Wanted | null {
    if (this.next === null || (this.next && last + AHEAD < this.found.length)) return null;
    return this.next ? { page: this.found.length, cursor: this.next } : { page: 0 };
  }

  put(wanted: Wanted, page: RowsPage): void {
    if (wanted.page !== this.found.length) return;
    for (const row of page.rows) {
      if (this.places.has(row.id)) continue;
      this.places.set(row.id, this.found.length);
      this.found.push(row);
    }
    this.next = page.next;
    if (page.count !== null) [this.count, this.isExact] = [page.count, page.countIsExact];
    if (this.next === null) [this.count, this.isExact] = [this.found.length, true];
    else this.count = Math.max(this.count ?? 0, this.found.length);
  }

  update(rows: readonly JobRow[]): boolean {
    let isAny = false;
    for (const row of rows) {
      const index = this.places.get(row.id);
      if (index === undefined) continue;
      this.found[index] = row;
      isAny = true;
    }
    return isAny;
  }
}

const range = (first: number, last: number): number[] =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => first + n);
