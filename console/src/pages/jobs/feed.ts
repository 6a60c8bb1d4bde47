/**
 * The rows of the list while it is looked at: fetched as they come into view, brought up to date as
 * events name them. No row moves by itself: what is new, gone or no longer matches is told, and the
 * list is made anew when somebody asks for it.
 */

import { signal } from "@preact/signals";
import { ApiError, api, type Query } from "../../api/client";
import type { JobRow, RowsPage } from "../../api/types";
import type { Progress } from "../../lib/events";
import { Growing, PAGE, Pages, type Book, type Wanted } from "./book";
import { matches } from "./filters";

const GATHER_MS = 250; // events are gathered for so long
const AT_ONCE = 200; // rows that one request may name
const NEAR = 30; // rows beyond the view that are kept up to date
const EMPTY_MOST = 20; // pages without a row, after which a search asks whether to go on

export type Asked = { query: Query; isCounted: boolean; isNewestFirst: boolean };
type Get = (query: Query, signal: AbortSignal) => Promise<RowsPage>;

const getRows: Get = (query, over) => api<RowsPage>("GET", "jobs/rows/", { query, signal: over });

export class Feed {
  /** Goes up whenever there is something else to see. */
  readonly tick = signal(0);
  book: Book | null = null; // null: nothing came yet
  error: unknown = null;
  /** The rows are those of other filters, until the first of these have come. */
  isOld = false;
  /** A search looked at many rows, found none and waits to be told to go on. */
  isPaused = false;
  /** Jobs that came, and jobs of the list that were deleted or no longer match. */
  readonly fresh = new Set<string>();
  readonly gone = new Set<string>();
  readonly away = new Set<string>();

  asked: Asked = { query: {}, isCounted: true, isNewestFirst: true };
  private coming: Book | null = null; // takes the place of `book` with its first page
  private over = new AbortController();
  private view: [number, number] = [0, 0];
  private isFetching = false;
  private empties = 0;
  private dirty = new Set<string>();
  private unknown = new Set<string>();
  private shared = new Set<string>();
  private isFlushing = false;
  private isLost = false; // what was out of date could not be fetched
  private isNews = false; // to be drawn with the next flush
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly get: Get = getRows,
    private readonly isHidden: () => boolean = () => document.visibilityState === "hidden",
  ) {}

  /** Begins another list. */
  ask(asked: Asked): void {
    this.asked = asked;
    this.reload();
  }

  /** The list from its beginning; what is there stays, marked as old, until it has come. */
  reload(): void {
    this.over.abort();
    this.over = new AbortController();
    this.coming = this.asked.isCounted ? new Pages(this.asked.isNewestFirst) : new Growing();
    this.isOld = this.book !== null;
    this.isFetching = false;
    this.restart();
    this.view = [0, 0];
    void this.pump();
  }

  private restart(): void {
    this.error = null;
    this.isPaused = false;
    this.empties = 0;
    for (const set of [this.fresh, this.gone, this.away, this.dirty, this.unknown, this.shared]) set.clear();
    this.changed();
  }

  /** The server is there again. */
  retry(): void {
    this.seen();
    if (!this.error) return;
    this.error = null;
    this.changed();
    void this.pump();
  }

  /** To the next hit, or to the end of the list. */
  goOn(): void {
    this.isPaused = false;
    this.empties = -Infinity;
    this.changed();
    void this.pump();
  }

  stop(): void {
    this.over.abort();
    clearTimeout(this.timer);
  }

  /** These rows are seen. */
  look(first: number, last: number): void {
    if (this.isOld || last < first) return;
    this.view = [first, last];
    void this.pump();
    if (!this.isLost && this.near().length) this.later();
  }

  /** Rows in view, or nearly, that are out of date. */
  private near(): string[] {
    const [first, last] = this.view;
    return [...this.dirty].filter((id) => {
      const at = this.book?.place(id);
      return at !== undefined && at >= first - NEAR && at <= last + NEAR;
    });
  }

  private async pump(): Promise<void> {
    const book = this.coming ?? this.book;
    if (!book || this.isFetching || this.error || this.isPaused) return;
    const wanted = book.wants(...this.view);
    if (!wanted) return;
    const signal = this.over.signal;
    this.isFetching = true;
    try {
      const page = await this.get({ ...this.asked.query, ...way(wanted), limit: PAGE }, signal);
      if (signal.aborted) return;
      book.put(wanted, page);
      this.came(book, page);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.fields["at"] && this.asked.isCounted) {
        this.asked = { ...this.asked, isCounted: false }; // more are on their way than can be counted
        this.reload();
        return;
      }
      this.error = error;
    }
    this.isFetching = false;
    this.changed();
    void this.pump();
  }

  private came(book: Book, page: RowsPage): void {
    if (this.coming === book) {
      this.book = book;
      this.coming = null;
      this.isOld = false;
      this.seen(); // what happened while it came
    }
    this.empties = page.rows.length ? 0 : this.empties + 1;
    if (page.next && this.empties >= EMPTY_MOST) this.isPaused = true;
  }

  // --- what happens meanwhile ---

  heard(name: string, data: Record<string, unknown>): void {
    const id = String(data["job"] ?? data["id"] ?? "");
    if (name === "reset") {
      for (const row of this.book?.rows() ?? []) this.dirty.add(row.id);
      void this.check();
    } else if (name === "notice" && id) {
      if (data["kind"] === "shared") {
        this.shared.add(id);
        this.unknown.add(id);
      } else if (this.book?.place(id) === undefined) this.fresh.delete(id);
      else this.gone.add(id);
      this.isNews = true;
    } else if ((name === "job" || name === "run" || name === "study") && id) {
      (this.book?.place(id) === undefined ? this.unknown : this.dirty).add(id);
    } else return;
    this.isLost = false;
    this.later();
  }

  /** How far a run is: that of a study is not what its row shows. */
  progressed({ job, progress, convergence }: Progress): void {
    const book = this.book;
    const at = book?.place(job);
    const row = at === undefined ? undefined : book!.row(at);
    if (!row || row.isStudy || row.endedAt) return;
    book!.update([{ ...row, progress, convergence }]);
    this.isNews = true;
    this.later();
  }

  /** These jobs were changed from here. */
  touch(ids: Iterable<string>): void {
    for (const id of ids) this.dirty.add(id);
    this.later();
  }

  /** It is looked at again. */
  seen(): void {
    this.isLost = false;
    if (this.dirty.size || this.unknown.size || this.isNews) this.later();
  }

  private later(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.flush();
    }, GATHER_MS);
  }

  private async flush(): Promise<void> {
    const book = this.book;
    if (!book || this.isOld || this.isHidden()) return;
    if (this.isFlushing) return this.later();
    if (this.isNews) this.changed();
    this.isNews = false;
    for (const id of this.unknown) if (book.place(id) !== undefined && this.unknown.delete(id)) this.dirty.add(id);
    const known = this.near().slice(0, AT_ONCE);
    const others = [...this.unknown].slice(0, AT_ONCE - known.length);
    if (!known.length && !others.length) return;
    for (const id of known) this.dirty.delete(id);
    for (const id of others) this.unknown.delete(id);
    this.isFlushing = true;
    const signal = this.over.signal;
    try {
      const { rows } = await this.get({ ids: [...known, ...others] }, signal);
      if (signal.aborted || book !== this.book) return;
      const found = new Set(rows.map((row) => row.id));
      for (const id of known) if (!found.has(id)) this.gone.add(id);
      this.take(book, rows);
      if (this.unknown.size || this.near().length) this.later();
      this.changed();
    } catch {
      if (signal.aborted) return;
      // Until the next event, or the connection is back.
      this.isLost = true;
      for (const id of known) this.dirty.add(id);
      for (const id of others) this.unknown.add(id);
    } finally {
      this.isFlushing = false;
    }
  }

  private take(book: Book, rows: readonly JobRow[]): void {
    const newest = newestOf(book);
    for (const row of rows) {
      const isMatch = matches(row, this.asked.query);
      if (book.place(row.id) !== undefined) {
        book.update([row]);
        if (isMatch) this.away.delete(row.id);
        else this.away.add(row.id);
      } else if (isMatch && (this.shared.has(row.id) || row.insertedAt >= newest)) {
        this.fresh.add(row.id);
      }
    }
  }

  /** Which of the first rows are new, where events were missed. */
  async check(): Promise<void> {
    const book = this.book;
    if (!book || this.isOld) return;
    const signal = this.over.signal;
    try {
      const { rows } = await this.get({ ...this.asked.query, limit: PAGE }, signal);
      if (signal.aborted || book !== this.book) return;
      this.take(book, rows);
      this.changed();
    } catch {
      // The next reset, or whoever reloads.
    }
  }

  private changed(): void {
    this.tick.value = this.tick.peek() + 1; // also within an effect, which must not follow from itself
  }
}

const way = ({ cursor, at }: Wanted): Query => ({ ...(cursor ? { cursor } : {}), ...(at === undefined ? {} : { at }) });

/** When the newest job of a list was created: its first, or its last. */
function newestOf(book: Book): string {
  const rows = book.rows();
  const [first, last] = [rows[0]?.insertedAt ?? "", rows[rows.length - 1]?.insertedAt ?? ""];
  return first > last ? first : last;
}
