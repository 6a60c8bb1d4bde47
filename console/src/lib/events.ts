/**
 * What happens to the jobs that one sees, for all tabs of a browser over one connection.
 *
 * A server that speaks HTTP/1.1 gets six connections of a browser in all: with one stream a tab, the
 * seventh tab does not load. So one tab, the leader, listens, and tells the others on a channel. Who
 * leads holds a lock; where there are no locks (plain http), a lease in the storage that is renewed
 * while its tab is awake. A new leader goes on from the last event that it heard of.
 */

import { signal } from "@preact/signals";
import { newKey, prefix } from "../api/client";
import type { Converging } from "./convergence";
import { listen, type Connection, type Told } from "./sse";

export const connection = signal<Connection>("connecting");
/** When something was heard last, for "as of 14:03". */
export const heardAt = signal(Date.now());

/** How far a run is that executes. */
export type Progress = { job: string; run: string; progress: number | null; convergence: Converging };

type Message = { told?: Told; state?: Connection };
type Handler = (name: string, data: Record<string, unknown>) => void;

const NAME = `simyard-events:${prefix}`;
const TOPICS = "jobs,uploads";
const BEAT_MS = 2_000;
const STALE_MS = 6_000;

const handlers = new Set<Handler>();
const watchers = new Set<(progress: Progress) => void>();
let lastId = "";

/** Be told of each event, in this tab or another's connection; returns how to stop. */
export function onEvent(handler: Handler): () => void {
  handlers.add(handler);
  return () => handlers.delete(handler);
}

/** Be told how far runs are, once a second each: nothing has happened to them. Returns how to stop. */
export function onProgress(watcher: (progress: Progress) => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

/**
 * One call of `work` for all events of so many milliseconds that concern it. What comes while it is still
 * at work, or while nobody looks at the page, has it called once afterwards. Returns how to stop.
 *
 * hear: told of each event once and at once, may act on it, and says whether it concerns `work`.
 */
export function gathered(
  ms: number,
  hear: (name: string, data: Record<string, unknown>) => boolean,
  work: () => Promise<void> | void,
): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isOwed = false;
  let isBusy = false;
  let isOver = false;
  const isSeen = (): boolean => document.visibilityState === "visible";
  const soon = (): void => {
    if (isOwed && !isBusy && !isOver && isSeen()) timer ??= setTimeout(() => void run(), ms);
  };
  const run = async (): Promise<void> => {
    timer = undefined;
    if (!isSeen()) return;
    isOwed = false;
    isBusy = true;
    try {
      await work();
    } finally {
      isBusy = false;
      soon();
    }
  };
  const deaf = onEvent((name, data) => {
    if (!hear(name, data)) return;
    isOwed = true;
    soon();
  });
  document.addEventListener("visibilitychange", soon);
  return () => {
    isOver = true;
    deaf();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", soon);
  };
}

export function tell(told: Told): void {
  if (told.id) lastId = told.id;
  heardAt.value = Date.now();
  const data = (told.data ?? {}) as Record<string, unknown>;
  if (told.name === "run" && !("state" in data)) for (const watcher of watchers) watcher(data as Progress);
  else for (const handler of handlers) handler(told.name, data);
}

/** Begin to listen; once a page. Returns how to stop. */
export function begin(): () => void {
  const over = new AbortController();
  const channel = new BroadcastChannel(NAME);
  channel.addEventListener("message", (event: MessageEvent<Message>) => {
    if (event.data.told) tell(event.data.told);
    if (event.data.state) connection.value = event.data.state;
  });
  const lead = (lost: AbortSignal): Promise<void> => {
    const beat = setInterval(() => channel.postMessage({ state: connection.value }), BEAT_MS);
    return listen("events/", {
      query: { topics: TOPICS },
      lastId,
      signal: lost,
      onEvent: (told) => {
        tell(told);
        channel.postMessage({ told } satisfies Message);
      },
      onState: (state) => {
        connection.value = state;
        channel.postMessage({ state } satisfies Message);
      },
    }).finally(() => clearInterval(beat));
  };
  void (navigator.locks ? byLock(over.signal, lead) : byLease(over.signal, lead));
  return () => {
    over.abort();
    channel.close();
  };
}

type Lead = (lost: AbortSignal) => Promise<void>;

async function byLock(over: AbortSignal, lead: Lead): Promise<void> {
  try {
    await navigator.locks.request(NAME, { signal: over }, () => lead(over));
  } catch {
    // The page goes.
  }
}

/** Whose turn it is, where there are no locks. */
export class Lease {
  constructor(
    private readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem">,
    private readonly me: string,
    private readonly now: () => number = Date.now,
  ) {}

  /** Takes it or renews it; false where another tab that is awake has it. */
  hold(): boolean {
    const [owner, at] = (this.storage.getItem(NAME) ?? "").split(" ");
    const isFree = !owner || owner === this.me || this.now() - Number(at) > STALE_MS;
    if (isFree) this.storage.setItem(NAME, `${this.me} ${this.now()}`);
    return isFree;
  }

  free(): void {
    if ((this.storage.getItem(NAME) ?? "").startsWith(`${this.me} `)) this.storage.removeItem(NAME);
  }
}

async function byLease(over: AbortSignal, lead: Lead): Promise<void> {
  const lease = new Lease(localStorage, newKey());
  const gone = (): void => lease.free();
  window.addEventListener("pagehide", gone);
  let leading: AbortController | null = null;
  await new Promise<void>((resolve) => {
    const turn = (): void => {
      if (lease.hold()) {
        if (!leading) {
          leading = new AbortController();
          void lead(leading.signal);
        }
      } else if (leading) {
        leading.abort();
        leading = null;
      }
    };
    const timer = setInterval(turn, BEAT_MS);
    turn();
    over.addEventListener("abort", () => {
      clearInterval(timer);
      leading?.abort();
      lease.free();
      resolve();
    });
  });
  window.removeEventListener("pagehide", gone);
}
