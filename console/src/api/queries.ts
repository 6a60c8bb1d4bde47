/** What is fetched, kept while it is looked at, and fetched again when an event says so. */

import { QueryClient, keepPreviousData, useQuery, type UseQueryResult } from "@tanstack/preact-query";
import { ApiError, api, type Query } from "./client";

const TRIES = 3;

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      gcTime: 120_000,
      refetchOnWindowFocus: false, // the stream of events says what changed, also while it slept
      retry: (failed, error) =>
        failed < TRIES && error instanceof ApiError && (error.status === 0 || error.status >= 500),
      retryDelay: (n) => Math.min(500 * 2 ** n, 5000),
      networkMode: "always",
    },
  },
});

export type Got<T> = UseQueryResult<T, Error>;

type Options = {
  enabled?: boolean;
  keep?: boolean; // the last reply stays, dimmed, while that of other parameters is fetched
  every?: number; // milliseconds, for what no event tells
  stale?: number;
};

/** GET a path. Its key is [path, query]: `changed("jobs/abc/")` has it fetched again. */
export function useGet<T>(path: string, query?: Query, options: Options = {}): Got<T> {
  return useQuery<T, Error>({
    queryKey: [path, query ?? {}],
    queryFn: ({ signal }) => api<T>("GET", path, { query: query ?? {}, signal }),
    enabled: options.enabled ?? true,
    ...(options.keep ? { placeholderData: keepPreviousData } : {}),
    ...(options.every ? { refetchInterval: options.every } : {}),
    ...(options.stale === undefined ? {} : { staleTime: options.stale }),
  });
}

/** Nothing of what has a path that begins with `start` is there any more. */
export function gone(start: string): void {
  queries.removeQueries({ predicate: (query) => String(query.queryKey[0]).startsWith(start) });
}

/** Everything whose path begins with `start` is fetched again if it is on the screen. */
export function changed(start: string): void {
  void queries.invalidateQueries({
    predicate: (query) => String(query.queryKey[0]).startsWith(start),
  });
}
