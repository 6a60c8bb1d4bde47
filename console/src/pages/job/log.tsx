/** The log of a run, or any text file of it: followed, searched, linked to. */

import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../../api/client";
import { runPath } from "../../api/jobs";
import { useGet } from "../../api/queries";
import type { Schemas } from "../../api/types";
import { bytes, grouped } from "../../lib/format";
import { useKeys } from "../../lib/keys";
import { seen } from "../../lib/pasted";
import { usePlace } from "../../lib/query";
import { baseName, plural } from "../../lib/words";
import { Dialog } from "../../ui/dialog";
import {
  ArrowDown,
  ArrowUp,
  Copy,
  Download,
  Pause,
  Play,
  Search as SearchIcon,
  TriangleAlert,
  WrapText,
} from "../../ui/icons";
import { Banner, Button, Empty, Failure, copy } from "../../ui/parts";
import { Code } from "../../ui/scroll";
import { toast } from "../../ui/toasts";
import { contentHref } from "./hrefs";
import { liveState, type Live } from "./live";
import type { Line } from "./logbook";
import { Marks, useMarks } from "./marks";
import { exact } from "./rules";
import { DEFAULT_LOG } from "./standing";
import { nextMarked, nextMatch, useLogSearch } from "./search";
import { plain, shownLine } from "./text";
import { isMissing, useLog } from "./uselog";
import { Viewer, type ViewerHandle } from "./viewer";

type Props = { job: string; run: string; live: Live | null; isOver: boolean; isDraft: boolean };

export function LogView({ job, run, live, isOver, isDraft }: Props) {
  const [place, change] = usePlace();
  const log = place["path"] || DEFAULT_LOG;
  const path = runPath(job, run);
  const { book, version, fresh } = useLog({ path, log, live, isOver });
  const viewer = useRef<ViewerHandle>(null);
  const input = useRef<HTMLInputElement>(null);
  const [top, setTop] = useState<Line | null>(null);
  const [isEnd, setEnd] = useState(false);
  const [leftAt, setLeft] = useState(0);
  const [isTyping, setTyping] = useState(false);
  const [whole, setWhole] = useState<Line | null>(null);
  const [q, setQ] = useState(place["q"] ?? "");
  const isWrapped = place["wrap"] === "1";
  const isRegex = place["regex"] === "1";
  const isExact = place["case"] === "1";
  const at = place["at"] && /^\d+$/.test(place["at"]) ? Number(place["at"]) : null;
  const [search, more] = useLogSearch({ path, log, q, isRegex, isExact });
  const marks = useMarks(path, log, book, version);
  const current = at ?? top?.start ?? 0;

  const go = (byte: number, how: { replace?: boolean } = { replace: true }): void => {
    change({ at: String(byte) }, how);
    viewer.current?.show(byte);
  };
  const hit = (isBack: boolean): void => {
    const found = nextMatch(search.matches, at ?? (top?.start ?? 0) - 1, isBack);
    if (found) go(found.offset);
  };
  const toEnd = (): void => {
    change({ at: "" }, { replace: true });
    viewer.current?.to("end");
  };
  const nextError = async (): Promise<void> => {
    const first = marks?.firstError;
    if (!first)
      return toast(
        marks && !marks.done ? "The log is still being looked through." : "No errors are known in this log.",
      );
    if (at === null || first.offset > at) return go(first.offset);
    const size = marks.size;
    const begin = nextMarked(marks.errors, size, at) ?? first.offset;
    // The map knows the part of the log; the line in it is mostly one that says so.
    const near = await api<Schemas["LogSearch"]>("GET", `${path}log/search/`, {
      query: { path: log, q: "error", from: begin, limit: 1 },
    }).catch(() => null);
    const offset = near?.matches[0]?.offset;
    go(begin !== first.offset && offset !== undefined && offset < begin + size / marks.errors.length ? offset : begin);
  };
  const step = (by: 1 | -1): void => {
    const line = book.lineAt(current);
    const next = line && (by > 0 ? book.after(line) : book.before(line));
    if (next) go(next.start);
  };
  const link = async (byte: number): Promise<void> => {
    const url = new URL(window.location.href);
    url.searchParams.set("at", String(byte));
    toast(
      (await copy(url.toString())) ? "The link to this line is copied." : "The browser does not let this page copy.",
    );
  };

  const group = "Log";
  useKeys([
    { keys: "G", label: "To the end of the log", group, run: toEnd },
    { keys: "g g", label: "To the start of the log", group, run: () => viewer.current?.to({ at: 0, above: 0 }) },
    { keys: "/", label: "Search the log", group, run: () => input.current?.focus() },
    { keys: "n", label: "Next hit", group, run: () => hit(false) },
    { keys: "N", label: "Previous hit", group, run: () => hit(true) },
    { keys: "e", label: "Next error", group, run: () => void nextError() },
    { keys: "w", label: "Wrap lines", group, run: () => change({ wrap: isWrapped ? "" : "1" }) },
    { keys: "y", label: "Copy the link to this line", group, run: () => void link(current) },
    { keys: "j", label: "Next line", group, run: () => step(1) },
    { keys: "k", label: "Previous line", group, run: () => step(-1) },
  ]);
  // Once the box has the focus, the browser's own search is one more press away.
  useKeys(
    [{ keys: "Ctrl f", label: "Search the log", group, run: () => input.current?.focus(), isHidden: true }],
    !isTyping,
  );

  // The address was changed by hand, by Back or by a link.
  useEffect(() => {
    if (at !== null) viewer.current?.show(at);
  }, [at, log]);
  useEffect(() => setQ(place["q"] ?? ""), [log]);
  useEffect(() => {
    if (!isEnd) setLeft(fresh());
  }, [isEnd]);
  // A search that was typed shows its first hit from here on.
  const hasHits = search.matches.length > 0;
  useEffect(() => {
    if (hasHits && isTyping) hit(false);
  }, [hasHits, q]);

  const state = liveState(live).value;
  const waiting = isEnd ? 0 : fresh() - leftAt;
  const size = book.size;
  const isNowhere = isMissing(book.error);
  const percent = search.size ? Math.floor((search.scannedTo / search.size) * 100) : 0;
  const count = grouped(search.matches.length);
  return (
    <div class="log-page">
      <div class="log-tools" role="toolbar" aria-label="Log">
        <Files
          path={path}
          log={log}
          isOn={!isDraft}
          choose={(name) => change({ path: name === DEFAULT_LOG ? "" : name, at: "" })}
        />
        <div class="log-search">
          <SearchIcon size={16} class="icon" />
          <input
            ref={input}
            class="input"
            type="search"
            aria-label="Search the log"
            placeholder="Search ( / )"
            value={q}
            onFocus={() => setTyping(true)}
            onBlur={() => setTyping(false)}
            onInput={(event) => {
              setQ(event.currentTarget.value);
              change({ q: event.currentTarget.value }, { replace: true });
            }}
            onKeyDown={(event) => {
              if (event.key === "Enter") {
                event.preventDefault();
                hit(event.shiftKey);
              } else if (event.key === "Escape") {
                event.preventDefault();
                viewer.current?.focus();
              }
            }}
          />
          <Button
            small
            kind="plain"
            aria-pressed={isExact ? "true" : "false"}
            title="Capital letters count"
            onClick={() => change({ case: isExact ? "" : "1" })}
          >
            Aa
          </Button>
          <Button
            small
            kind="plain"
            aria-pressed={isRegex ? "true" : "false"}
            title="A pattern (RE2)"
            onClick={() => change({ regex: isRegex ? "" : "1" })}
          >
            .*
          </Button>
          {q ? (
            <>
              <Button small kind="plain" icon={ArrowUp} label="Previous hit (N)" onClick={() => hit(true)} />
              <Button small kind="plain" icon={ArrowDown} label="Next hit (n)" onClick={() => hit(false)} />
            </>
          ) : null}
        </div>
        <span class="grow" />
        <Button
          small
          icon={TriangleAlert}
          {...(marks?.firstError
            ? {}
            : {
                why: marks && !marks.done ? "The log is still being looked through" : "No errors are known in this log",
              })}
          onClick={() => void nextError()}
          title="Next error (e)"
        >
          Next error
        </Button>
        <Button
          small
          icon={WrapText}
          aria-pressed={isWrapped ? "true" : "false"}
          title="Wrap lines (w)"
          onClick={() => change({ wrap: isWrapped ? "" : "1" })}
        >
          Wrap
        </Button>
        {live ? (
          <Button
            small
            icon={isEnd ? Pause : Play}
            aria-pressed={isEnd ? "true" : "false"}
            onClick={() => {
              if (!isEnd) return toEnd();
              const line = viewer.current?.top();
              if (line) viewer.current?.to({ at: line.start, above: 1 });
            }}
          >
            Follow
          </Button>
        ) : null}
        <Button small icon={Copy} title="Copy the link to this line (y)" onClick={() => void link(current)}>
          Link
        </Button>
        <SaveLog job={job} run={run} log={log} isOver={isOver} />
      </div>
      {q ? (
        <p class="log-found quiet" role="status">
          {search.error ||
            (search.isBusy
              ? `At least ${count}, ${percent} % of ${bytes(search.size)} read …`
              : search.isDone
                ? `${count} ${plural(search.matches.length, "line")} in ${bytes(search.scannedTo)}`
                : search.scannedTo
                  ? `At least ${count}, ${percent} % of ${bytes(search.size)} read`
                  : "")}
          {!search.isBusy &&
          !search.error &&
          (search.isDone ? (size ?? 0) > search.scannedTo : search.scannedTo > 0) ? (
            <Button small kind="plain" onClick={more}>
              Search on
            </Button>
          ) : null}
        </p>
      ) : null}
      {state === "lost" ? (
        <Banner tone="warning">
          The stream of this run was lost. It goes on from the last line here as soon as the server answers.
        </Banner>
      ) : null}
      {isDraft || (isNowhere && !isOver && log === DEFAULT_LOG) ? (
        <Empty title="No output yet">
          <p>{isDraft ? "This job was not submitted." : "The log begins when the run does."}</p>
        </Empty>
      ) : isNowhere ? (
        <Empty title="There is no such file in this run">
          <Button onClick={() => change({ path: "", at: "" })}>Show {DEFAULT_LOG}</Button>
        </Empty>
      ) : (
        <>
          {book.error ? <Failure error={book.error} what="The log" again={() => book.retry()} /> : null}
          <div class="log-body">
            <Viewer
              key={`${run} ${log}`}
              book={book}
              version={version}
              start={at === null ? "end" : { at, above: 0 }}
              isWrapped={isWrapped}
              current={at}
              wanted={{
                q,
                isExact,
                found: isRegex ? new Map(search.matches.map((m) => [m.offset, m.text.slice(m.start, m.end)])) : null,
              }}
              handle={viewer}
              onEnd={setEnd}
              onTop={setTop}
              onLine={(line) => {
                change({ at: String(line.start) });
              }}
              onWhole={setWhole}
            >
              {size === 0 ? <p class="quiet log-line">The file is empty{live ? " so far" : ""}.</p> : null}
              {size === null && !book.error ? <p class="quiet log-line">Loading …</p> : null}
            </Viewer>
            {marks && size ? (
              <Marks marks={marks} top={top?.start ?? 0} go={(byte) => viewer.current?.show(byte)} />
            ) : null}
            {waiting > 0 ? (
              <Button class="log-fresh" small kind="primary" icon={ArrowDown} onClick={toEnd}>
                {grouped(waiting)} new {plural(waiting, "line")}
              </Button>
            ) : null}
          </div>
          <p class="log-status quiet">
            {top?.number ? `line ${grouped(top.number)}` : `byte ${grouped(top?.start ?? 0)}`} of {bytes(size)}
            {size ? (
              <span title={`${size} bytes`}>
                , {Math.min(100, Math.round(((top?.start ?? 0) / size) * 100))} % above
              </span>
            ) : null}
            {live ? (isEnd ? ", following" : ", not following") : ""}
          </p>
        </>
      )}
      {whole ? (
        <Whole text={plain(shownLine(book.bytes(whole), Infinity).text)} line={whole} onClose={() => setWhole(null)} />
      ) : null}
    </div>
  );
}

function Whole({ text, line, onClose }: { text: string; line: Line; onClose: () => void }) {
  return (
    <Dialog
      title={line.number ? `Line ${grouped(line.number)}` : `Line at byte ${grouped(line.start)}`}
      onClose={onClose}
      isWide
      actions={
        <>
          <Button
            icon={Copy}
            onClick={async () => toast((await copy(text)) ? "Copied." : "The browser does not let this page copy.")}
          >
            Copy
          </Button>
          <Button onClick={onClose}>Close</Button>
        </>
      }
    >
      <Code label="The line" class="log-whole">{text}</Code>
    </Dialog>
  );
}

/** Which file: the log, those that are called so, and the one that the address names. */
function Files({
  path,
  log,
  isOn,
  choose,
}: {
  path: string;
  log: string;
  isOn: boolean;
  choose: (name: string) => void;
}) {
  const found = useGet<Schemas["Tree"]>(`${path}tree/`, { q: "log", limit: 100 }, { keep: true, enabled: isOn });
  const names = [...new Set([DEFAULT_LOG, log, ...(found.data?.files ?? []).map((file) => file.path)])];
  return (
    <label class="log-files">
      <span class="hidden-visually">File</span>
      <select class="input" value={log} title={seen(log)} onChange={(event) => choose(event.currentTarget.value)}>
        {names.map((name) => (
          <option key={name} value={name}>
            {seen(name)}
          </option>
        ))}
      </select>
    </label>
  );
}

/** The whole file: the stored one once there is one, what is there of it before. */
function SaveLog({ job, run, log, isOver }: { job: string; run: string; log: string; isOver: boolean }) {
  const found = useGet<Schemas["Tree"]>(
    `${runPath(job, run)}tree/`,
    { q: exact(log), limit: 1000 },
    { enabled: isOver },
  );
  const id = found.data?.files.find((each) => each.path === log)?.id ?? null;
  const name = baseName(log);
  if (isOver && !id) return null;
  return (
    <a class="button small" href={contentHref(job, run, log, id)} download={name} title={`Download ${seen(name)}`}>
      <Download size={16} class="icon" />
      Download
    </a>
  );
}
