/**
 * What a run says while one looks at it: one stream for the page, given up when the page has been
 * hidden for a while. After a loss it goes on from the last thing heard, so no line is missing.
 */

import { signal, type Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { jobPath, runPath } from "../../api/jobs";
import { changed } from "../../api/queries";
import { listen, type Connection, type Told } from "../../lib/sse";

const HIDDEN_MS = 30_000;

type Handler = (told: Told) => void;

/** One run's stream; whoever wants some of it says so with `on`. */
export class Live {
  readonly state: Signal<Connection> = signal<Connection>("connecting");
  private handlers = new Set<Handler>();
  private lastId = "";
  private isOver = false;
  private stop: (() => void) | null = null;

  /** onRefused: called where the server will not tell of it any more, before its end. */
  constructor(
    private readonly path: string,
    private readonly log: string,
    private readonly onRefused: () => void,
  ) {}

  on(handler: Handler): () => void {
    this.handlers.add(handler);
    return () => this.handlers.delete(handler);
  }

  open(): void {
    if (this.stop || this.isOver) return;
    const over = new AbortController();
    this.stop = () => over.abort();
    void listen(`${this.path}live/`, {
      query: { log: this.log, series: 1 },
      lastId: this.lastId,
      signal: over.signal,
      isOver: () => this.isOver,
      onState: (state) => {
        if (over.signal.aborted) return;
        this.state.value = state;
        if (state === "ended" && !this.isOver) this.onRefused();
      },
      onEvent: (told) => {
        if (told.id) this.lastId = told.id;
        if (told.name === "end") this.isOver = true;
        for (const handler of this.handlers) handler(told);
      },
    });
  }

  close(): void {
    this.stop?.();
    this.stop = null;
  }
}

const nobody = signal<Connection>("ended");

/** The stream of a run while it is worth listening; null otherwise. */
export function useLive(job: string, run: string, log: string, isOn: boolean): Live | null {
  const held = useRef<{ key: string; live: Live } | null>(null);
  const key = `${job} ${run} ${log}`;
  if (isOn && held.current?.key !== key) {
    held.current = { key, live: new Live(runPath(job, run), log, () => changed(jobPath(job))) };
  }
  const live = isOn ? held.current!.live : null;
  useEffect(() => {
    if (!live) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = (): void => {
      clearTimeout(timer);
      if (document.visibilityState === "visible") live.open();
      else timer = setTimeout(() => live.close(), HIDDEN_MS);
    };
    look();
    document.addEventListener("visibilitychange", look);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
      live.close();
    };
  }, [live]);
  return live;
}

/** Calls the newest `handler` with each event. */
export function useTold(live: Live | null, handler: Handler): void {
  const newest = useRef(handler);
  newest.current = handler;
  useEffect(() => live?.on((told) => newest.current(told)), [live]);
}

export const liveState = (live: Live | null): Signal<Connection> => live?.state ?? nobody;
