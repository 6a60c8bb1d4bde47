/** One box to find, go and do. Opens at once; what was pressed before it is drawn is not lost. */

import { signal } from "@preact/signals";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "wouter-preact";
import { api, part } from "../api/client";
import type { Schemas } from "../api/types";
import { jobHref } from "../lib/hrefs";
import { active, type Key } from "../lib/keys";
import { write } from "../lib/query";

export const isPaletteOpen = signal(false);
export const isHelpOpen = signal(false);

type Found = Partial<Schemas["SearchHits"]>;
type Choice = { id: string; label: string; detail: string; keys: string; run: () => void };

const SEARCH_MS = 120;
const MOST = 60;

/** An output is among the files of its run, everything else in the library. */
const placeOf = ({ name, job, run }: Schemas["FileHit"]): string =>
  job ? jobHref(job, "files", { run: run ?? "", q: name }) : `/library?${write({ q: name })}`;

export function Palette() {
  if (!isPaletteOpen.value) return null;
  return <Opened />;
}

function Opened() {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [found, setFound] = useState<Found>({});
  const box = useRef<HTMLDialogElement>(null);
  const [, go] = useLocation();
  const list = useId();
  // Before anything else is heard: what is typed right after its key is meant for it.
  useLayoutEffect(() => {
    box.current!.showModal();
  }, []);
  useEffect(() => {
    if (!text.trim()) {
      setFound({});
      return;
    }
    const over = new AbortController();
    const timer = setTimeout(() => {
      api<Found>("GET", "search/", { query: { q: text.trim() }, signal: over.signal }).then(setFound, () => {});
    }, SEARCH_MS);
    return () => {
      clearTimeout(timer);
      over.abort();
    };
  }, [text]);

  const close = (): void => {
    isPaletteOpen.value = false;
  };
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (label: string): boolean => words.every((word) => label.toLowerCase().includes(word));
  const keys = new Map<string, Key>();
  for (const key of active.value) if (!key.isHidden) keys.set(key.label, key);
  const choices: Choice[] = [...keys.values()]
    .filter((key) => fits(key.label))
    .map((key) => ({ id: `do-${key.label}`, label: key.label, detail: key.group ?? "", keys: key.keys, run: key.run }));
  const goes = (kind: string, id: string, name: string, place: string): void => {
    choices.push({ id: `${kind}-${id}`, label: name || id, detail: kind, keys: "", run: () => go(place) });
  };
  for (const job of found.jobs ?? []) goes("job", job.id, job.name, jobHref(job.id));
  for (const study of found.studies ?? []) goes("study", study.id, study.name, `/studies/${part(study.id)}`);
  for (const file of found.files ?? []) goes("file", file.id, file.name, placeOf(file));
  for (const { code, name } of found.analyses ?? []) goes("analysis", code, name, `/jobs?${write({ analysis: code })}`);
  const shown = choices.slice(0, MOST);
  const chosen = Math.min(at, shown.length - 1);
  const choose = (choice: Choice | undefined): void => {
    if (!choice) return;
    box.current?.close(); // the focus is where it was, and what opens now gives it back there
    close();
    choice.run();
  };
  const onKey = (event: KeyboardEvent): void => {
    event.stopPropagation();
    const steps: Record<string, number> = { ArrowDown: chosen + 1, ArrowUp: chosen - 1 + shown.length };
    if (event.key in steps && shown.length) {
      event.preventDefault();
      setAt(steps[event.key]! % shown.length);
      document.getElementById(`${list}-${steps[event.key]! % shown.length}`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      choose(shown[chosen]);
    }
  };
  return (
    <dialog ref={box} class="palette" aria-label="Search and commands" onClose={close} onKeyDown={onKey}>
      <input
        class="input"
        type="text"
        role="combobox"
        aria-expanded="true"
        aria-controls={list}
        aria-label="Search jobs, files and commands"
        aria-activedescendant={shown.length ? `${list}-${chosen}` : ""}
        placeholder="Search jobs, files and commands"
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
        }}
      />
      <div id={list} role="listbox" aria-label="Found" class="palette-list">
        {shown.map((choice, n) => (
          <div
            key={choice.id}
            id={`${list}-${n}`}
            role="option"
            tabIndex={-1}
            aria-selected={n === chosen ? "true" : "false"}
            class="palette-choice"
            onClick={() => choose(choice)}
            onKeyDown={() => {}}
          >
            <span class="grow ellipsis">{choice.label}</span>
            <span class="quiet">{choice.detail}</span>
            {choice.keys ? <kbd>{choice.keys}</kbd> : null}
          </div>
        ))}
        {shown.length ? null : <p class="quiet palette-choice">Nothing found</p>}
      </div>
    </dialog>
  );
}
