/** Two definitions against each other. */

type Plain = Record<string, unknown>;

/** Values that differ, by their paths. */
export function differences(before: unknown, after: unknown, path = ""): { path: string; before: string; after: string }[] {
  const isMap = (value: unknown): value is Plain => typeof value === "object" && value !== null;
  if (isMap(before) && isMap(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return names.flatMap((name) => differences(before[name], after[name], path ? `${path}.${name}` : name));
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  const text = (value: unknown): string => (value === undefined || value === null || value === "" ? "-" : typeof value === "string" ? value : JSON.stringify(value));
  return [{ path, before: text(before), after: text(after) }];
}
