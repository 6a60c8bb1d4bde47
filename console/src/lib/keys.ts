/** Keys of the whole console. None is heard while somebody types, and single letters can be turned off. */

import { useEffect, useRef } from "preact/hooks";
import { signal } from "@preact/signals";
import { store, stored } from "./format";

export type Key = {
  keys: string; // "g j", "Ctrl k", "?"
  label: string; // in the palette and the help
  run: () => void;
  group?: string;
  isHidden?: boolean; // not in the palette
};

/** What can be done where one is, newest layer last. */
export const active = signal<Key[]>([]);
export const isOn = signal(stored("simyard.keys") !== "off");

export function turn(on: boolean): void {
  isOn.value = on;
  store("simyard.keys", on ? null : "off");
}

/** These keys are good while the component is there. `when` false: not now. */
export function useKeys(keys: Key[], when = true): void {
  const newest = useRef(keys);
  newest.current = keys;
  const names = keys.map((key) => `${key.keys} ${key.label}`).join("|");
  useEffect(() => {
    if (!when) return;
    const mine = newest.current.map((key, n) => ({ ...key, run: () => newest.current[n]?.run() }));
    active.value = [...active.value, ...mine];
    return () => {
      active.value = active.value.filter((key) => !mine.includes(key));
    };
  }, [names, when]);
}

const CHORD_MS = 1_000;
let begun = "";
let begunAt = 0;

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) &&
  !(target instanceof HTMLInputElement && /^(checkbox|radio|button|submit|range)$/.test(target.type));

/** What was pressed, as `keys` has it; "" for nothing of ours. */
export function pressed(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey">): string {
  if (event.altKey || /^(Control|Meta|Shift|Alt)$/.test(event.key)) return "";
  return event.ctrlKey || event.metaKey ? `Ctrl ${event.key.toLowerCase()}` : event.key;
}

function handle(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing) return;
  const name = pressed(event);
  if (!name) return;
  const isPlain = !name.startsWith("Ctrl ");
  if (isPlain && (isTyping(event.target) || document.querySelector("dialog[open]"))) return;
  if (isPlain && name.length === 1 && !isOn.value) return;
  const now = Date.now();
  const chord = begun && now - begunAt < CHORD_MS ? `${begun} ${name}` : "";
  const find = (text: string): Key | undefined => active.value.findLast((key) => key.keys === text);
  const found = (chord ? find(chord) : undefined) ?? find(name);
  begun = "";
  if (found) {
    event.preventDefault();
    found.run();
  } else if (active.value.some((key) => key.keys.startsWith(`${name} `))) {
    begun = name;
    begunAt = now;
  }
}

export function begin(): () => void {
  document.addEventListener("keydown", handle);
  return () => document.removeEventListener("keydown", handle);
}
