/** A map of a log beside it: where errors, warnings and steps are. */

import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../../api/client";
import type { Schemas } from "../../api/types";
import type { LogBook } from "./logbook";

type MarkMap = Schemas["LogMarks"];

const PARTS = 200;
const AGAIN_MS = 5_000; // of a log that grows

/** Asks on until all of the log was looked at, and again when it has grown. */
export function useMarks(path: string, log: string, book: LogBook, version: number): MarkMap | null {
  const [marks, set] = useState<MarkMap | null>(null);
  const asked = useRef({ size: -1, at: 0, isBusy: false });
  const over = useRef(new AbortController());
  useEffect(() => {
    set(null);
    asked.current = { size: -1, at: 0, isBusy: false };
    over.current = new AbortController();
    return () => over.current.abort();
  }, [path, log]);
  useEffect(() => {
    const size = book.size;
    if (!size || size === asked.current.size || asked.current.isBusy) return;
    const { signal } = over.current;
    const ask = async (): Promise<void> => {
      asked.current = { size, at: Date.now(), isBusy: true };
      try {
        for (let isDone = false; !isDone;) {
          const reply = await api<MarkMap>("GET", `${path}log/marks/`, {
            query: { path: log, buckets: PARTS },
            signal,
          });
          if (signal.aborted) return;
          set(reply);
          isDone = reply.done;
        }
      } catch {
        if (signal.aborted) return; // the log is there without its map
      }
      asked.current.isBusy = false;
    };
    const timer = setTimeout(() => void ask(), Math.max(0, asked.current.at + AGAIN_MS - Date.now()));
    return () => clearTimeout(timer);
  }, [path, log, book, version]);
  return marks;
}

type Props = { marks: MarkMap; top: number; go: (byte: number) => void };

/** For the mouse; `e` and the search do the same by keys. */
export function Marks({ marks, top, go }: Props) {
  const count = (of: number[]): number => of.reduce((sum, n) => sum + n, 0);
  const height = 100 / marks.errors.length;
  const found = `${count(marks.errors)} errors, ${count(marks.warnings)} warnings, ${count(marks.steps)} steps`;
  const said = marks.done ? found : `${found} so far`;
  return (
    <button
      type="button"
      class="log-map"
      tabIndex={-1}
      aria-label={`Map of the log: ${said}`}
      title={said}
      onClick={(event) => {
        const box = event.currentTarget.getBoundingClientRect();
        go(Math.floor(((event.clientY - box.top) / box.height) * marks.size));
      }}
    >
      <svg viewBox="0 0 12 100" preserveAspectRatio="none" aria-hidden="true">
      {marks.errors.map((errors, n) => {
        const y = n * height;
        if (errors) return <rect key={n} x="0" width="12" y={y} height={Math.max(height, 0.8)} class="map-error" />;
        if (marks.warnings[n]) return <rect key={n} x="4" width="8" y={y} height={height} class="map-warning" />;
        return null;
      })}
      <rect x="0" width="12" y={Math.min(99, (top / Math.max(1, marks.size)) * 100)} height="1" class="map-here" />
      </svg>
    </button>
  );
}
