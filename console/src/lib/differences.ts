/** Two definitions against each other. */

type Difference = { path: string; before: string; after: string };

/** Values that differ, by their paths. */
export function differences(before: unknown, after: unknown, path = ""): Difference[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (isMap(before) && isMap(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return names.flatMap((name) => differences(before[name], after[name], path ? `${path}.${name}` : name));
  }
  return [{ path, before: shown(before), after: shown(after) }];
}

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

const shown = (value: unknown): string =>
  value === undefined || value === null || value === ""
    ? "-"
    : typeof value === "string"
      ? value
      : JSON.stringify(value);
