/** Searching a log: the server looks, a part at a time, and says how far it has looked. */

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, api } from "../../api/client";
import type { Schemas } from "../../api/types";

type Match = Schemas["LogMatch"];

export type Search = {
  matches: Match[];
  scannedTo: number;
  size: number;
  isDone: boolean; // all that there was is looked at
  isBusy: boolean;
  error: string;
};

const MOST_MATCHES = 2_000;
const TYPING_MS = 250;
const NONE: Search = { matches: [], scannedTo: 0, size: 0, isDone: false, isBusy: false, error: "" };

export type Wish = { path: string; log: string; q: string; isRegex: boolean; isExact: boolean };

/** Looks through the whole log for what is wished; `more` goes on where it stopped, as in what has been added. */
export function useLogSearch(wish: Wish): [Search, () => void] {
  const [found, set] = useState<Search>(NONE);
  const newest = useRef(found);
  newest.current = found;
  const over = useRef<AbortController>();
  const go = async (from: Search, signal: AbortSignal): Promise<void> => {
    let so: Search = { ...from, isBusy: true, isDone: false, error: "" };
    const most = so.matches.length + MOST_MATCHES;
    set(so);
    try {
      while (!so.isDone && so.matches.length < most) {
        const reply = await api<Schemas["LogSearch"]>("GET", `${wish.path}log/search/`, {
          query: {
            path: wish.log,
            q: wish.q,
            from: so.scannedTo,
            limit: 1000,
            ...(wish.isRegex ? { regex: 1 } : {}),
            ...(wish.isExact ? { case: 1 } : {}),
          },
          signal,
        });
        const isStuck = reply.scannedTo <= so.scannedTo && !reply.matches.length;
        so = {
          ...so,
          matches: [...so.matches, ...reply.matches],
          scannedTo: reply.scannedTo,
          size: reply.size,
          isDone: reply.done || isStuck,
        };
        if (signal.aborted) return;
        set(so);
      }
      set({ ...so, isBusy: false });
    } catch (error) {
      if (!signal.aborted)
        set({
          ...so,
          isBusy: false,
          error: error instanceof ApiError ? (Object.values(error.fields)[0]?.[0] ?? error.message) : String(error),
        });
    }
  };
  useEffect(() => {
    if (!wish.q) {
      set(NONE);
      return;
    }
    over.current = new AbortController();
    const { signal } = over.current;
    const timer = setTimeout(() => void go(NONE, signal), TYPING_MS);
    return () => {
      clearTimeout(timer);
      over.current?.abort();
    };
  }, [wish.path, wish.log, wish.q, wish.isRegex, wish.isExact]);
  const more = (): void => {
    if (!newest.current.isBusy && over.current) void go(newest.current, over.current.signal);
  };
  return [found, more];
}

/** The match after a byte, or before it; round the end. */
export function nextMatch(matches: readonly Match[], at: number, isBack: boolean): Match | undefined {
  if (isBack) return matches.findLast((match) => match.offset < at) ?? matches.at(-1);
  return matches.find((match) => match.offset > at) ?? matches[0];
}

/** Where the next part of a log begins, of parts of equal size, in which something was counted; null: there is none. */
export function nextMarked(parts: readonly number[], size: number, at: number): number | null {
  const width = size / parts.length;
  for (let n = 0; n < parts.length; n++) if (parts[n] && n * width > at) return Math.floor(n * width);
  return null;
}
