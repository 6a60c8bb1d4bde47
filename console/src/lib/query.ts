/** What one looks at is in the address: filters, sort, tab, place in a log. Nothing is remembered elsewhere. */

import { useCallback } from "preact/hooks";
import { useLocation, useSearch } from "wouter-preact";

export type Place = Record<string, string>;

/** Parameters that are not empty, in a fixed order, so that equal views have equal addresses. */
export function write(place: Place): string {
  const parameters = new URLSearchParams();
  for (const name of Object.keys(place).sort()) if (place[name]) parameters.set(name, place[name]);
  return parameters.toString();
}

export function read(search: string): Place {
  return Object.fromEntries(new URLSearchParams(search));
}

/**
 * The query of the page, and how to change some of it. A choice is a step that Back undoes;
 * `replace` is for what moves continuously.
 */
export function usePlace(): [Place, (change: Place, how?: { replace?: boolean }) => void] {
  const search = useSearch();
  const [path, go] = useLocation();
  const place = read(search);
  const change = useCallback(
    (some: Place, how: { replace?: boolean } = {}) => {
      const text = write({ ...read(window.location.search), ...some });
      go(text ? `${path}?${text}` : path, { replace: how.replace ?? false });
    },
    [path, go],
  );
  return [place, change];
}

/** The values of a parameter that may have several, separated by commas. */
export const list = (text: string | undefined): string[] => (text ? text.split(",") : []);

export const toggled = (text: string | undefined, value: string): string => {
  const values = list(text);
  return (values.includes(value) ? values.filter((v) => v !== value) : [...values, value]).join(",");
};
