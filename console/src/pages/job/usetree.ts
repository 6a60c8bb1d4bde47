/** The open folders of a run's tree, fetched when they are opened and when something in them has changed. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../../api/client";
import { gathered } from "../../lib/events";
import { added, type Known, type TreePage } from "./tree";

const LIMIT = 1000;
const ROUND_MS = 1_000;

export type Wish = { path: string; job: string; run: string; open: ReadonlySet<string>; sort: string; q: string };
export type Tree = {
  known: ReadonlyMap<string, Known>;
  isLive: boolean;
  isPartial: boolean;
  isBusy: boolean; // what is shown is of an earlier question
  error: unknown;
  more: (prefix: string) => void;
  again: () => void;
};

export function useTree({ path, job, run, open, sort, q }: Wish, isOn: boolean): Tree {
  const [known, set] = useState<ReadonlyMap<string, Known>>(new Map());
  const [facts, tell] = useState({ isLive: false, isPartial: false });
  const [error, fail] = useState<unknown>(null);
  const [isBusy, busy] = useState(true);
  const [round, again] = useState(0);
  const newest = useRef(known);
  const store = (next: ReadonlyMap<string, Known>): void => {
    newest.current = next;
    set(next);
  };
  const over = useRef(new AbortController());

  const fetch = async (prefix: string, cursor: string | null, signal: AbortSignal): Promise<TreePage> => {
    const page = await api<TreePage>("GET", `${path}tree/`, {
      query: { prefix, sort, q, limit: LIMIT, cursor },
      signal,
    });
    tell({ isLive: page.isLive, isPartial: page.isPartial });
    return page;
  };
  const load = async (prefix: string): Promise<void> => {
    const { signal } = over.current;
    const before = newest.current.get(prefix);
    if (before?.isLoading || (before && !before.next && !before.error)) return;
    if (before) newest.current = new Map(newest.current).set(prefix, { ...before, isLoading: true });
    try {
      const page = await fetch(prefix, before?.next ?? null, signal);
      if (!signal.aborted) store(new Map(newest.current).set(prefix, added(before, page)));
    } catch (problem) {
      if (signal.aborted) return;
      const none: Known = { folders: [], files: [], next: null, count: 0, bytes: 0, error: null, isLoading: false };
      store(new Map(newest.current).set(prefix, { ...(before ?? none), isLoading: false, error: problem }));
    }
  };

  // Another question: the old answer stays until the first of the new one is there.
  useEffect(() => {
    if (!isOn) return;
    over.current.abort();
    over.current = new AbortController();
    const { signal } = over.current;
    busy(true);
    const ask = async (): Promise<void> => {
      try {
        const fresh = new Map<string, Known>();
        // As much of each open folder as was known, at most a few pages.
        for (const prefix of q ? [""] : ["", ...open]) {
          const had = newest.current.get(prefix);
          const pages = Math.min(
            5,
            Math.max(1, Math.ceil(((had?.files.length ?? 0) + (had?.folders.length ?? 0)) / LIMIT)),
          );
          let so: Known | undefined;
          try {
            for (let n = 0; n < pages && (!so || so.next); n++)
              so = added(so, await fetch(prefix, so?.next ?? null, signal));
          } catch (problem) {
            if (signal.aborted || prefix === "") throw problem;
            continue; // a folder that is not there any more
          }
          if (so) fresh.set(prefix, so);
        }
        fail(null);
        store(fresh);
      } catch (problem) {
        if (signal.aborted) return;
        fail(problem);
      }
      busy(false);
    };
    const timer = setTimeout(() => void ask(), q ? 200 : 0);
    return () => clearTimeout(timer);
  }, [path, sort, q, round, isOn]);
  useEffect(() => () => over.current.abort(), []);

  // A folder that was opened.
  const missing = useMemo(() => (q ? [] : [...open].filter((prefix) => !known.has(prefix))), [open, known, q]);
  const wanted = missing.join("\n");
  useEffect(() => {
    if (isOn && !isBusy) for (const prefix of missing) void load(prefix);
  }, [wanted, isBusy, isOn]);

  useEffect(
    () =>
      gathered(
        ROUND_MS,
        (name, data) => (name === "files" || name === "run") && data["job"] === job && data["run"] === run,
        () => again((n) => n + 1),
      ),
    [job, run],
  );

  return { known, ...facts, isBusy, error, more: (prefix) => void load(prefix), again: () => again((n) => n + 1) };
}
