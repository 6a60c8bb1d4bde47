/** The files of a run as rows of a tree, of which only open folders are known, page by page. */

import type { Schemas } from "../../api/types";

export type TreePage = Schemas["Tree"];

/** What is known of one folder. */
export type Known = Pick<TreePage, "folders" | "files" | "next" | "count" | "bytes"> & {
  error: unknown;
  isLoading: boolean;
};

export type Row =
  | ({ kind: "folder"; key: string; path: string; level: number; isOpen: boolean } & Schemas["TreeFolder"])
  | { kind: "file"; key: string; path: string; name: string; level: number; file: Schemas["TreeFile"] }
  | { kind: "more"; key: string; prefix: string; level: number; shown: number; error: unknown };

/** Rows as they stand under each other. Searching, all are files below `prefix`, in no folders. */
export function flattened(known: ReadonlyMap<string, Known>, open: ReadonlySet<string>, prefix = "", level = 1): Row[] {
  const here = known.get(prefix);
  if (!here) return [{ kind: "more", key: `${prefix}\n`, prefix, level, shown: 0, error: null }];
  const rows: Row[] = [];
  for (const folder of here.folders) {
    const path = `${prefix}${folder.name}/`;
    const isOpen = open.has(path);
    rows.push({ ...folder, kind: "folder", key: path, path, level, isOpen });
    if (isOpen) for (const row of flattened(known, open, path, level + 1)) rows.push(row);
  }
  for (const file of here.files) {
    rows.push({ kind: "file", key: file.path, path: file.path, name: file.name, level, file });
  }
  if (here.next || here.error) {
    const shown = here.folders.length + here.files.length;
    rows.push({ kind: "more", key: `${prefix}\n`, prefix, level, shown, error: here.error });
  }
  return rows;
}

/** A page behind what is known; one without `before` begins anew. */
export function added(before: Known | undefined, page: TreePage): Known {
  return {
    folders: [...(before?.folders ?? []), ...page.folders],
    files: [...(before?.files ?? []), ...page.files],
    next: page.next,
    count: page.count,
    bytes: page.bytes,
    error: null,
    isLoading: false,
  };
}

/** The folder that a row is in, as a place among the rows; -1 at the top. */
export function parentOf(rows: readonly Row[], at: number): number {
  const level = rows[at]?.level ?? 1;
  for (let n = at - 1; n >= 0; n--) if (rows[n]!.kind === "folder" && rows[n]!.level < level) return n;
  return -1;
}
