/** A run's log on the screen: loaded where it is looked at, and going on with the stream. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, request } from "../../api/client";
import { LogBook } from "./logbook";
import { useTold, type Live } from "./live";

const ROUND_MS = 100; // between two drawings of what arrives

export type Log = { book: LogBook; version: number; fresh: () => number };

type What = { path: string; log: string; live: Live | null; isOver: boolean };

/** `path` is that of the run; `log` that of the file in it. `fresh` counts lines that have arrived. */
export function useLog({ path, log, live, isOver }: What): Log {
  const [version, redraw] = useState(0);
  const later = useRef<ReturnType<typeof setTimeout>>();
  const fresh = useRef(0);
  const draw = (): void => {
    later.current ??= setTimeout(() => {
      later.current = undefined;
      redraw((n) => n + 1);
    }, ROUND_MS);
  };
  const book = useMemo(
    () =>
      new LogBook(
        async (offset, length, signal) => {
          const response = await request("GET", `${path}log/`, {
            query: { path: log, offset, length },
            headers: { Accept: "text/plain" },
            signal,
          });
          const line = response.headers.get("Log-Line");
          return {
            bytes: new Uint8Array(await response.arrayBuffer()),
            size: Number(response.headers.get("Log-Size")),
            line: line === null ? null : Number(line),
          };
        },
        () => redraw((n) => n + 1),
      ),
    [path, log],
  );
  useEffect(
    () => () => {
      clearTimeout(later.current);
      later.current = undefined;
      book.close();
    },
    [book],
  );
  const encoder = useMemo(() => new TextEncoder(), []);
  useTold(live, ({ name, data }) => {
    const said = data as { from: number; to: number; text: string };
    if (name === "log") {
      if (isMissing(book.error)) book.retry();
      book.append(said.from, said.to, encoder.encode(said.text));
      for (const c of said.text) if (c === "\n") fresh.current += 1;
    } else if (name === "gap") book.append(said.from, said.to, new Uint8Array());
    else if (name === "truncated") book.reset(said.to);
    else return;
    draw();
  });
  // What was not there before it began may be there now; a short run is over before it was seen to run.
  useEffect(() => {
    if (isMissing(book.error)) book.retry();
  }, [live, isOver]);
  return { book, version, fresh: () => fresh.current };
}

/** There is no such thing, or not yet. */
export const isMissing = (error: unknown): boolean => error instanceof ApiError && error.status === 404;
