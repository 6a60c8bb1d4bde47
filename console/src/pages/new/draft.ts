/**
 * A draft that saves itself.
 *
 * Each version is saved from the one that it was made from: where another tab was first, nothing is
 * overwritten, and who edits chooses. What could not be saved yet goes out when the server answers
 * again, also while another page is looked at; who comes back finds it as it was typed. It is kept in
 * the memory of the page only: nothing is left for who signs in next.
 */

import { useCallback, useEffect, useState } from "preact/hooks";
import { ApiError, api, newKey, part } from "../../api/client";
import type { Schemas } from "../../api/types";
import { askBefore } from "../../lib/leaving";
import { messageOf } from "../../lib/words";
import type { Body } from "./body";

export type Draft = Omit<Schemas["Draft"], "body"> & { body: Body };
export type Problem = Schemas["DraftProblem"];

export type Saving = "new" | "saved" | "saving" | "unsaved" | "offline" | "refused";

const AUTOSAVE_MS = 800;
const AGAIN_MS = 3_000;
const VALIDATE_MS = 400;

type State = {
  draft: Draft | null;
  body: Body;
  saving: Saving;
  said: string;
  conflict: Draft | null; // what another tab saved
  validation: Schemas["Validation"] | null;
  checked: Body | null; // what it is said of
};

/** A draft and what is saved of it, which outlives the page that it is edited on. */
class Work {
  timer: ReturnType<typeof setTimeout> | undefined;
  turns: Promise<unknown> = Promise.resolve();
  once = newKey();
  show: (state: State) => void = () => {};
  onCreated: (id: string) => void = () => {};

  constructor(public state: State) {}

  get isUnsaved(): boolean {
    return ["unsaved", "saving", "offline"].includes(this.state.saving);
  }

  change(some: Partial<State>): void {
    this.state = { ...this.state, ...some };
    if (this.isUnsaved) unsaved.add(this);
    else unsaved.delete(this);
    this.show(this.state);
  }

  edit(to: Body | ((body: Body) => Body)): void {
    const body = typeof to === "function" ? to(this.state.body) : to;
    if (!this.state.draft) this.once = newKey();
    this.change({ body, saving: "unsaved" });
    this.later(AUTOSAVE_MS);
  }

  later(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.save(), ms);
  }

  /** Saves what is there now, one request after the other; whether all of it is saved. */
  save(): Promise<boolean> {
    clearTimeout(this.timer);
    const turn = this.turns.then(() => this.send());
    this.turns = turn.catch(() => {});
    return turn;
  }

  private async send(): Promise<boolean> {
    const { body, draft, saving, conflict } = this.state;
    if (conflict) return false;
    if (saving === "saved") return true;
    this.change({ saving: "saving", said: "" });
    try {
      const saved = draft
        ? await api<Draft>("PUT", `drafts/${part(draft.id)}/`, {
            json: body,
            headers: { "If-Match": `"${draft.version}"` },
          })
        : await api<Draft>("POST", "drafts/", { json: body, once: this.once });
      const isNewest = this.state.body === body;
      this.change({ draft: saved, saving: isNewest ? "saved" : "unsaved" });
      if (!draft) this.onCreated(saved.id);
      if (!isNewest) this.later(AUTOSAVE_MS);
      return isNewest;
    } catch (problem) {
      const known = problem instanceof ApiError ? problem : null;
      if (known?.status === 412) {
        this.change({ saving: "unsaved", conflict: (known.body as { current: Draft }).current });
      } else if (known?.isOffline || (known && known.status >= 500)) {
        this.change({ saving: "offline", said: known.message });
        this.later(AGAIN_MS);
      } else {
        this.change({ saving: "refused", said: messageOf(problem) });
      }
      return false;
    }
  }
}

const unsaved = new Set<Work>();
askBefore(() => unsaved.size > 0);

export function useDraft(id: string, begin: Body, onCreated: (id: string) => void) {
  const [work] = useState(
    () =>
      [...unsaved].find((each) => id && each.state.draft?.id === id) ??
      new Work({ draft: null, body: begin, saving: "new", said: "", conflict: null, validation: null, checked: null }),
  );
  const [state, set] = useState<State>(work.state);
  const [error, fail] = useState<unknown>(null);
  work.onCreated = onCreated;

  useEffect(() => {
    if (!id || work.state.draft?.id === id) return;
    const over = new AbortController();
    api<Draft>("GET", `drafts/${part(id)}/`, { signal: over.signal }).then(
      (draft) => work.change({ draft, body: draft.body, saving: "saved" }),
      (problem: unknown) => {
        if (!over.signal.aborted) fail(problem);
      },
    );
    return () => over.abort();
  }, [id]);

  // What was typed last is saved before the page goes.
  useEffect(() => {
    work.show = set;
    set(work.state);
    const hidden = (): void => {
      if (document.visibilityState === "hidden" && work.isUnsaved) void work.save();
    };
    document.addEventListener("visibilitychange", hidden);
    return () => {
      document.removeEventListener("visibilitychange", hidden);
      work.show = () => {};
      if (work.isUnsaved) void work.save();
    };
  }, []);

  // The server's word on what is there now, each time it was changed and then left for a moment.
  const text = JSON.stringify(state.body);
  useEffect(() => {
    const over = new AbortController();
    const wait = setTimeout(() => {
      const { body } = work.state;
      api<Schemas["Validation"]>("POST", "drafts/validate/", { json: body, signal: over.signal }).then(
        (validation) => work.change({ validation, checked: body }),
        () => {},
      );
    }, VALIDATE_MS);
    return () => {
      clearTimeout(wait);
      over.abort();
    };
  }, [text]);

  const edit = useCallback((to: Body | ((body: Body) => Body)) => work.edit(to), []);
  const takeTheirs = (): void => {
    const theirs = work.state.conflict!;
    work.change({ draft: theirs, body: theirs.body, saving: "saved", conflict: null });
  };
  const keepMine = (): void => {
    work.change({ draft: work.state.conflict!, saving: "unsaved", conflict: null });
    void work.save();
  };

  /** Creates the job and sends it on its way, once; its id. Throws ApiError. */
  const submit = async (): Promise<string> => {
    if (!(await work.save())) throw new Error(work.state.said || "The draft could not be saved.");
    const draft = work.state.draft!;
    const reply = await api<Schemas["SubmittedDraft"]>("POST", `drafts/${part(draft.id)}/submit/`, {
      headers: { "If-Match": `"${draft.version}"` },
      once: `submit-${draft.id}-${draft.version}`,
    });
    return reply.id;
  };

  return { ...state, error, edit, submit, takeTheirs, keepMine };
}
