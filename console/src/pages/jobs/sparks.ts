/**
 * The small charts of the runs in view, and of some next to it: they are there when these are scrolled to.
 * No event tells of each line of a log: they are asked for now and then.
 */

import { signal } from "@preact/signals";
import { api } from "../../api/client";
import type { Schemas } from "../../api/types";
import { connection } from "../../lib/events";
import type { Feed } from "./feed";

type Sparks = Record<string, Schemas["Sparkline"]>;

const REST_MS = 200; // after the last scroll
const AGAIN_MS = 5_000;
const MOST = 100;

export class SparkBook {
  readonly tick = signal(0);
  private known: Sparks = {};
  private near: [number, number] = [0, -1];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private over = new AbortController();
  private isAsking = false;
  private askedAt = 0;

  constructor(private readonly feed: Feed) {}

  of(id: string): Schemas["Sparkline"] | undefined {
    return this.known[id];
  }

  look(first: number, last: number): void {
    const isSame = first === this.near[0] && last === this.near[1];
    this.near = [first, last];
    this.later(isSame ? Math.max(REST_MS, this.askedAt + AGAIN_MS - Date.now()) : REST_MS);
  }

  stop(): void {
    this.over.abort();
    clearTimeout(this.timer);
  }

  private later(ms: number): void {
    clearTimeout(this.timer);
    if (!this.over.signal.aborted) this.timer = setTimeout(() => void this.ask(), ms);
  }

  private async ask(): Promise<void> {
    const ids: string[] = [];
    for (let n = this.near[0]; n <= this.near[1]; n++) {
      const row = this.feed.book?.row(n);
      if (row && row.startedAt && !row.endedAt && !row.isStudy) ids.push(row.id);
    }
    if (ids.length && document.visibilityState === "visible" && !this.isAsking && connection.value !== "lost") {
      this.isAsking = true;
      this.askedAt = Date.now();
      try {
        const found = await api<Sparks>("GET", "jobs/sparklines/", {
          query: { ids: ids.slice(0, MOST) },
          signal: this.over.signal,
        });
        const known: Sparks = {}; // only of those, so that it does not grow
        for (const id of ids) {
          const one = found[id] ?? this.known[id];
          if (one) known[id] = one;
        }
        this.known = known;
        this.tick.value += 1;
      } catch {
        // An ornament: it comes with the next one.
      }
      this.isAsking = false;
    }
    if (ids.length) this.later(AGAIN_MS);
  }
}
