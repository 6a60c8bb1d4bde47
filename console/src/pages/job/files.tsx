/** What a run has written: folder by folder, previewed, chosen by rules, and downloaded as one zip. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../../api/client";
import { jobPath, runPath } from "../../api/jobs";
import type { Schemas } from "../../api/types";
import { bytes, grouped, number } from "../../lib/format";
import { archiveHref } from "../../lib/hrefs";
import { useKeys } from "../../lib/keys";
import { COARSE, PHONE, useMedia } from "../../lib/media";
import { seen } from "../../lib/pasted";
import { usePlace } from "../../lib/query";
import { messageOf, plural } from "../../lib/words";
import {
  ArrowDown,
  ArrowUp,
  ChevronDown,
  ChevronRight,
  Download,
  FileIcon,
  Folder as FolderIcon,
  FolderOpen,
  RefreshCw,
} from "../../ui/icons";
import { Banner, Button, Bytes, Empty, Failure, Skeleton, Time } from "../../ui/parts";
import { Window, type WindowHandle } from "../../ui/window";
import { contentHref } from "./hrefs";
import { Preview } from "./preview";
import { NOTHING, isChosen, isLeftOut, isMixed, isNothing, read, sent, toggled, write, type Rules } from "./rules";
import { flattened, parentOf, type Row } from "./tree";
import { useTree } from "./usetree";

type Props = { job: string; run: string; isDraft: boolean; isOver: boolean };

const TYPING_MS = 150;
const split = (text: string | undefined): string[] => (text ? text.split("|").map(decodeURIComponent) : []);
const join = (paths: Iterable<string>): string =>
  [...paths].map((path) => path.replace(/[%|]/g, encodeURIComponent)).join("|");

export function FilesView({ job, run, isDraft, isOver }: Props) {
  const [place, change] = usePlace();
  const path = runPath(job, run);
  const openText = place["open"];
  const open = useMemo(() => new Set(split(openText)), [openText]);
  const rules = useMemo(() => read(place["sel"]), [place["sel"]]);
  const sort = place["sort"] || "name";
  const [typed, type] = useState(place["q"] ?? "");
  const q = place["q"] ?? "";
  const tree = useTree({ path, job, run, open, sort, q }, !isDraft);
  const rows = useMemo(() => flattened(tree.known, q ? new Set() : open), [tree.known, open, q]);
  const [at, setAt] = useState(0);
  const grid = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const handle = useRef<WindowHandle>(null);
  const isPhone = useMedia(PHONE);
  const isCoarse = useMedia(COARSE);
  const height = isPhone ? 52 : isCoarse ? 44 : 28;
  const root = tree.known.get("");
  const file = place["file"];

  useEffect(() => {
    if (typed === q) return;
    const timer = setTimeout(() => change({ q: typed }, { replace: true }), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);

  const set = (next: Rules): void => change({ sel: isNothing(next) ? "" : write(next) }, { replace: true });
  const fold = (row: Row, isOpen: boolean): void => {
    if (row.kind !== "folder") return;
    const next = new Set(open);
    if (isOpen) next.add(row.path);
    else for (const each of open) if (each.startsWith(row.path)) next.delete(each);
    change({ open: join(next) }, { replace: true });
  };
  const show = (row: Row | undefined): void => {
    if (row?.kind === "folder") fold(row, !row.isOpen);
    else if (row?.kind === "file") change({ file: row.path === file ? "" : row.path });
    else if (row) tree.more(row.prefix);
  };
  const chosen = Math.min(at, rows.length - 1);
  const move = (to: number): void => {
    const next = Math.max(0, Math.min(rows.length - 1, to));
    setAt(next);
    handle.current?.show(next);
    requestAnimationFrame(() =>
      grid.current?.querySelector<HTMLElement>(`[data-row="${next}"]`)?.focus({ preventScroll: true }),
    );
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.target as HTMLElement).closest("[data-row], .window"))
      return;
    const row = rows[chosen];
    const page = handle.current?.page ?? 1;
    const doing: Record<string, () => void> = {
      ArrowDown: () => move(chosen + 1),
      ArrowUp: () => move(chosen - 1),
      PageDown: () => move(chosen + page),
      PageUp: () => move(chosen - page),
      Home: () => move(0),
      End: () => move(rows.length - 1),
      ArrowRight: () => (row?.kind === "folder" && !row.isOpen ? fold(row, true) : move(chosen + 1)),
      ArrowLeft: () =>
        row?.kind === "folder" && row.isOpen ? fold(row, false) : move(Math.max(0, parentOf(rows, chosen))),
      Enter: () => show(row),
      " ": () => show(row),
    };
    const act = doing[event.key];
    if (act) act();
    else if (event.key === "x" && row && row.kind !== "more") {
      if (!isLeftOut(rules, row.path)) set(toggled(rules, row.path));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const group = "Files";
  useKeys([
    { keys: "/", label: "Search the files", group, run: () => input.current?.focus() },
    { keys: "j", label: "Next file", group, run: () => move(chosen + 1), isHidden: true },
    { keys: "k", label: "Previous file", group, run: () => move(chosen - 1), isHidden: true },
    {
      keys: "d",
      label: "Download what is chosen",
      group,
      run: () => document.querySelector<HTMLElement>("a.download-all")?.click(),
    },
  ]);
  // The next page comes before its row is seen.
  const onNear = (_: number, last: number): void => {
    for (let n = Math.max(0, last - 60); n <= Math.min(rows.length - 1, last + 20); n++) {
      const row = rows[n]!;
      if (row.kind === "more" && !row.error && row.shown > 0) tree.more(row.prefix);
    }
  };

  if (isDraft) {
    return (
      <Empty title="No files yet">
        <p>This job was not submitted.</p>
      </Empty>
    );
  }
  if (tree.error && !root) return <Failure error={tree.error} what="The files of this run" again={tree.again} />;
  const header = (name: string, label: string, isNumber = false) => {
    const isOn = sort.replace("-", "") === name;
    const Arrow = sort.startsWith("-") ? ArrowDown : ArrowUp;
    return (
      <span
        role="columnheader"
        aria-sort={isOn ? (sort.startsWith("-") ? "descending" : "ascending") : "none"}
        class={`cell-${name} ${isNumber ? "number" : ""}`}
      >
        <button
          type="button"
          class="sort"
          onClick={() =>
            change({
              sort: isOn && !sort.startsWith("-") ? `-${name}` : isOn ? name : name === "name" ? "" : `-${name}`,
            })
          }
        >
          {label}
          {isOn ? <Arrow size={12} class="icon" /> : null}
        </button>
      </span>
    );
  };
  return (
    <div class={`files-page ${file ? "with-preview" : ""}`}>
      <div class="stack-small files-list">
        <div class="row">
          <input
            ref={input}
            class="input files-search"
            type="search"
            aria-label="Search the files: a part of the path, or a pattern with *"
            placeholder="Search: part of a path, or *.vtp"
            value={typed}
            onInput={(event) => type(event.currentTarget.value)}
          />
          <span class="quiet grow" role="status">
            {root ? (
              <>
                {grouped(root.count)} {plural(root.count, "file")}
                {q ? " found" : ""}, {bytes(root.bytes)}
                {tree.isLive ? ", the run is writing" : ""}
              </>
            ) : null}
          </span>
          <Button small icon={RefreshCw} onClick={tree.again} disabled={tree.isBusy}>
            Look again
          </Button>
        </div>
        {tree.isPartial ? (
          <Banner tone="warning">
            There are more files than are looked at while the run executes. All are here once they are stored.
          </Banner>
        ) : null}
        {tree.error && root ? <Failure error={tree.error} what="The files of this run" again={tree.again} /> : null}
        {!root ? (
          <Skeleton rows={8} />
        ) : rows.length === 0 ? (
          q ? (
            <Empty title="No file matches">
              <Button
                onClick={() => {
                  type("");
                  change({ q: "" });
                }}
              >
                Clear the search
              </Button>
            </Empty>
          ) : (
            <Empty title={isOver ? "This run left no files" : "No files yet"}>
              <p>{isOver ? "" : "They are here as soon as the run writes some."}</p>
            </Empty>
          )
        ) : (
          <div
            role="treegrid"
            aria-label="Files"
            aria-rowcount={rows.length}
            aria-multiselectable="true"
            tabIndex={-1}
            class={`files ${tree.isBusy ? "stale" : ""}`}
            ref={grid}
            onKeyDown={onKey}
          >
            <div role="row" class="files-row files-head">
              <span role="columnheader" class="cell-check">
                <Check rules={rules} path="" label="everything" set={set} />
              </span>
              {header("name", "Name")}
              {header("size", "Size", true)}
              {header("mtime", "Changed")}
              <span role="columnheader" class="cell-do">
                <span class="hidden-visually">Download</span>
              </span>
            </div>
            <Window
              count={rows.length}
              row={height}
              role="rowgroup"
              handle={handle}
              onNear={onNear}
              render={(index) => (
                <TreeRow
                  row={rows[index]!}
                  index={index}
                  isAt={index === chosen}
                  file={file}
                  rules={rules}
                  set={set}
                  show={show}
                  job={job}
                  run={run}
                  onFocus={() => setAt(index)}
                  q={q}
                />
              )}
            />
          </div>
        )}
        <Chosen job={job} run={run} rules={rules} set={set} isOver={isOver} />
      </div>
      {file ? (
        <Preview
          key={file}
          job={job}
          run={run}
          path={path}
          file={file}
          onClose={() => {
            change({ file: "" });
            move(chosen);
          }}
        />
      ) : null}
    </div>
  );
}

function Check({
  rules,
  path,
  label,
  set,
}: {
  rules: Rules;
  path: string;
  label: string;
  set: (rules: Rules) => void;
}) {
  const isOut = isLeftOut(rules, path);
  const box = useRef<HTMLInputElement>(null);
  const mixed = isMixed(rules, path);
  useEffect(() => {
    if (box.current) box.current.indeterminate = mixed;
  }, [mixed]);
  return (
    <input
      ref={box}
      type="checkbox"
      tabIndex={-1}
      aria-label={`Choose ${label}`}
      title={isOut ? "Its folder is left out" : ""}
      checked={isChosen(rules, path)}
      disabled={isOut}
      onChange={() => set(toggled(rules, path))}
    />
  );
}

type RowProps = {
  row: Row;
  index: number;
  isAt: boolean;
  file: string | undefined;
  rules: Rules;
  set: (rules: Rules) => void;
  show: (row: Row) => void;
  job: string;
  run: string;
  onFocus: () => void;
  q: string;
};

function TreeRow({ row, index, isAt, file, rules, set, show, job, run, onFocus, q }: RowProps) {
  const common = {
    role: "row",
    "data-row": index,
    tabIndex: isAt ? 0 : -1,
    "aria-rowindex": index + 1,
    "aria-level": row.level,
    onFocus,
  } as const;
  if (row.kind === "more") {
    return (
      <div {...common} class="files-row">
        <span role="gridcell" class="cell-name" style={{ paddingLeft: `${row.level * 16}px` }}>
          {row.error ? (
            <>
              <span class="bad">{messageOf(row.error)}</span>
              <Button small onClick={() => show(row)}>
                Retry
              </Button>
            </>
          ) : (
            <span class="faint">{row.shown ? `${grouped(row.shown)} shown, loading more …` : "Loading …"}</span>
          )}
        </span>
      </div>
    );
  }
  const isFolder = row.kind === "folder";
  const entry = isFolder ? row : row.file;
  const Icon = isFolder ? (row.isOpen ? FolderOpen : FolderIcon) : FileIcon;
  const Fold = isFolder && row.isOpen ? ChevronDown : ChevronRight;
  const href = isFolder ? null : contentHref(job, run, row.path, row.file.id);
  return (
    <div
      {...common}
      class={`files-row ${row.path === file ? "shown" : ""}`}
      {...(isFolder ? { "aria-expanded": row.isOpen ? ("true" as const) : ("false" as const) } : {})}
      aria-selected={isChosen(rules, row.path) ? "true" : "false"}
    >
      <span role="gridcell" class="cell-check">
        <Check rules={rules} path={row.path} label={seen(row.name)} set={set} />
      </span>
      <span role="gridcell" class="cell-name" style={{ paddingLeft: `${(row.level - 1) * 16}px` }}>
        <button type="button" class="name" tabIndex={-1} title={seen(row.path)} onClick={() => show(row)}>
          {isFolder ? <Fold size={14} class="icon" /> : <span class="no-fold" />}
          <Icon size={16} class="icon" />
          <bdi class="ellipsis">{seen(q ? row.path : row.name)}</bdi>
          {isFolder ? <span class="quiet nowrap">{grouped(row.count)}</span> : null}
        </button>
      </span>
      <span role="gridcell" class="cell-size number">
        <Bytes value={entry.bytes} />
      </span>
      <span role="gridcell" class="cell-mtime quiet">
        <Time at={entry.mtime} />
      </span>
      <span role="gridcell" class="cell-do">
        {href ? (
          <a
            class="button small plain icon-only"
            tabIndex={-1}
            href={href}
            download={row.name}
            aria-label={`Download ${seen(row.name)}`}
            title="Download"
          >
            <Download size={16} class="icon" />
          </a>
        ) : null}
      </span>
    </div>
  );
}

type Archive = Schemas["Archive"];
const ASK_MS = 300;

/** What is chosen, as the server counts it, and its zip. */
function Chosen({
  job,
  run,
  rules,
  set,
  isOver,
}: {
  job: string;
  run: string;
  rules: Rules;
  set: (rules: Rules) => void;
  isOver: boolean;
}) {
  const [archive, found] = useState<Archive | null>(null);
  const [error, fail] = useState("");
  const key = write(rules);
  useEffect(() => {
    found(null);
    fail("");
    if (isNothing(rules) || !isOver) return;
    const over = new AbortController();
    const timer = setTimeout(() => {
      const json = { ...sent(rules), runs: [Number(run)] };
      api<Archive>("POST", `${jobPath(job)}archives/`, { json, signal: over.signal }).then(
        found,
        (problem: unknown) => {
          if (!over.signal.aborted) fail(messageOf(problem));
        },
      );
    }, ASK_MS);
    return () => {
      clearTimeout(timer);
      over.abort();
    };
  }, [key, job, run, isOver]);
  if (isNothing(rules)) {
    return (
      <p class="quiet small">
        Choose files or folders to download them as one zip.{" "}
        <Button small kind="plain" onClick={() => set({ ...NOTHING, include: [""] })}>
          Choose everything
        </Button>
      </p>
    );
  }
  return (
    <div class="row files-chosen" role="status">
      {!isOver ? (
        <span class="quiet">
          A zip of many files can be made once they are stored. Snapshot makes one of everything now.
        </span>
      ) : error ? (
        <span class="bad">{error}</span>
      ) : archive ? (
        <a class="button primary download-all" href={archiveHref(job, archive.id)} download="">
          <Download size={16} class="icon" />
          Download {number(archive.count)} {plural(archive.count, "file")}, {bytes(archive.bytes)}
        </a>
      ) : (
        <span class="quiet">Counting …</span>
      )}
      {rules.exclude.length ? (
        <span class="quiet">
          without {rules.exclude.length === 1 ? seen(rules.exclude[0]!) : `${rules.exclude.length} parts`}
        </span>
      ) : null}
      <span class="grow" />
      <Button small onClick={() => set(NOTHING)}>
        Choose nothing
      </Button>
    </div>
  );
}
