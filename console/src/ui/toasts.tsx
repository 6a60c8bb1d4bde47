/** Short messages about what was just done. Errors never stand here alone. */

import { signal } from "@preact/signals";

type Tone = "good" | "bad" | "";
type Toast = { id: number; text: string; tone: Tone; action?: { label: string; run: () => void } };

const STAY_MS = 6_000;
const WITH_ACTION_MS = 10_000;
const shown = signal<Toast[]>([]);
let next = 1;

export function toast(text: string, tone: Tone = "", action?: Toast["action"]): void {
  const id = next++;
  shown.value = [...shown.value.slice(-3), { id, text, tone, ...(action ? { action } : {}) }];
  setTimeout(() => drop(id), action ? WITH_ACTION_MS : STAY_MS);
}

const drop = (id: number): void => {
  shown.value = shown.value.filter((each) => each.id !== id);
};

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.value.map((each) => (
        <div key={each.id} class={`toast ${each.tone ? `tone-${each.tone}` : ""}`}>
          <span class="grow">{each.text}</span>
          {each.action ? (
            <button
              type="button"
              class="button small"
              onClick={() => {
                each.action!.run();
                drop(each.id);
              }}
            >
              {each.action.label}
            </button>
          ) : null}
          <button type="button" class="button small plain" onClick={() => drop(each.id)} aria-label="Dismiss">
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
