/** Server-sent events over fetch, which tells of refusals, can be given up, and does not hang after sleep. */

import { createParser } from "eventsource-parser";
import { ApiError, request, type Query } from "../api/client";

export type Told = { name: string; data: unknown; id: string };
export type Connection = "connecting" | "open" | "lost" | "ended";

type Listening = {
  query?: Query;
  lastId?: string;
  onEvent: (told: Told) => void;
  onState?: (state: Connection) => void;
  signal: AbortSignal;
  isOver?: () => boolean; // the stream has said its last word: its end is no loss
};

const SILENT_MS = 35_000; // a ping comes every 15 s
const LOOK_MS = 5_000;
const LATE_MS = 15_000; // a timer that fires so much late: the machine slept
const FIRST_MS = 500;
const MOST_MS = 15_000;
const STEADY_MS = 5_000; // open for so long, the next loss begins with a short pause again

/** Listens until the signal is given or the server refuses for good; comes back after every loss. */
export async function listen(path: string, options: Listening): Promise<void> {
  let lastId = options.lastId ?? "";
  let pause = FIRST_MS;
  const state = (value: Connection): void => options.onState?.(value);
  while (!options.signal.aborted) {
    const attempt = new AbortController();
    const stop = (): void => attempt.abort();
    options.signal.addEventListener("abort", stop);
    let heardAt = Date.now();
    let lookedAt = heardAt;
    let openedAt = 0;
    const watchdog = setInterval(() => {
      const now = Date.now();
      if (now - heardAt > SILENT_MS || now - lookedAt > LOOK_MS + LATE_MS) stop();
      lookedAt = now;
    }, LOOK_MS);
    const asleep = (): void => {
      if (document.visibilityState === "visible" && Date.now() - heardAt > SILENT_MS) stop();
    };
    window.addEventListener("online", stop);
    document.addEventListener("visibilitychange", asleep);
    window.addEventListener("pageshow", asleep);
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (lastId) headers["Last-Event-ID"] = lastId;
      const response = await request("GET", path, { query: options.query ?? {}, headers, signal: attempt.signal });
      openedAt = Date.now();
      heardAt = openedAt;
      state("open");
      const parser = createParser({
        onEvent: (event) => {
          if (event.id !== undefined) lastId = event.id;
          let data: unknown = null;
          try {
            data = JSON.parse(event.data);
          } catch {
            return; // not ours
          }
          options.onEvent({ name: event.event ?? "message", data, id: event.id ?? "" });
        },
      });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        heardAt = Date.now();
        parser.feed(value);
      }
    } catch (error) {
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) {
        state("ended");
        return;
      }
    } finally {
      clearInterval(watchdog);
      options.signal.removeEventListener("abort", stop);
      window.removeEventListener("online", stop);
      document.removeEventListener("visibilitychange", asleep);
      window.removeEventListener("pageshow", asleep);
      attempt.abort();
    }
    if (options.signal.aborted) return;
    if (options.isOver?.()) {
      state("ended");
      return;
    }
    state("lost");
    if (openedAt && Date.now() - openedAt > STEADY_MS) pause = FIRST_MS;
    await waited(pause * (0.75 + Math.random() / 2), options.signal);
    pause = Math.min(pause * 2, MOST_MS);
  }
}

/** A pause that ends early when the machine is online again or the page is looked at again. */
function waited(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      window.removeEventListener("online", end);
      document.removeEventListener("visibilitychange", seen);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const seen = (): void => {
      if (document.visibilityState === "visible") end();
    };
    const timer = setTimeout(end, ms);
    window.addEventListener("online", end);
    document.addEventListener("visibilitychange", seen);
    signal.addEventListener("abort", end);
  });
}
