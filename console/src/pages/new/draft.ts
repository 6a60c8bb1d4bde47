/**
 * A draft that saves itself.
 *
 * Each version is saved from the one that it was made from: where another tab was first, nothing is
 * overwritten, and who edits chooses. What could not be saved yet stays on the screen, and goes out
 * when the server answers again.
 */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, api, newKey, part } from "../../api/client";
import type { Schemas } from "../../api/types";
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
};

export function useDraft(id: string, begin: Body, onCreated: (id: string) => void) {
  const [state, set] = useState<State>({
    draft: null,
    body: begin,
    saving: "new",
    said: "",
    conflict: null,
    validation: null,
  });
  const [error, fail] = useState<unknown>(null);
  const now = useRef(state);
  now.current = state;
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const work = useRef<Promise<unknown>>(Promise.resolve());
  const once = useRef(newKey());
  const change = useCallback((some: Partial<State>) => {
    now.current = { ...now.current, ...some };
    set(now.current);
  }, []);

  useEffect(() => {
    if (!id || now.current.draft?.id === id) return;
    const over = new AbortController();
    api<Draft>("GET", `drafts/${part(id)}/`, { signal: over.signal }).then(
      (draft) => change({ draft, body: draft.body, saving: "saved" }),
      (problem: unknown) => {
        if (!over.signal.aborted) fail(problem);
      },
    );
    return () => over.abort();
  }, [id]);

  /** Saves what is there now, one request after the other; whether all of it is saved. */
  const save = useCallback(async (): Promise<boolean> => {
    clearTimeout(timer.current);
    const turn = work.current.then(async () => {
      const { body, draft, saving, conflict } = now.current;
      if (conflict) return false;
      if (saving === "saved") return true;
      change({ saving: "saving", said: "" });
      try {
        const saved = draft
          ? await api<Draft>("PUT", `drafts/${part(draft.id)}/`, {
              json: body,
              headers: { "If-Match": `"${draft.version}"` },
            })
          : await api<Draft>("POST", "drafts/", { json: body, once: once.current });
        const isNewest = now.current.body === body;
        change({ draft: saved, saving: isNewest ? "saved" : "unsaved" });
        if (!draft) onCreated(saved.id);
        if (!isNewest) later(AUTOSAVE_MS);
        return isNewest;
      } catch (problem) {
        const known = problem instanceof ApiError ? problem : null;
        if (known?.status === 412) {
          change({ saving: "unsaved", conflict: (known.body as { current: Draft }).current });
        } else if (known?.isOffline || (known && known.status >= 500)) {
          change({ saving: "offline", said: known.message });
          later(AGAIN_MS);
        } else {
          change({ saving: "refused", said: messageOf(problem) });
        }
        return false;
      }
    });
    work.current = turn.catch(() => {});
    return turn;
  }, []);

  const later = (ms: number): void => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => void save(), ms);
  };

  const edit = useCallback((to: Body | ((body: Body) => Body)) => {
    const body = typeof to === "function" ? to(now.current.body) : to;
    if (!now.current.draft) once.current = newKey();
    change({ body, saving: "unsaved" });
    later(AUTOSAVE_MS);
  }, []);

  // What was typed last is saved before the page goes.
  useEffect(() => {
    const hidden = (): void => {
      if (document.visibilityState === "hidden" && now.current.saving === "unsaved") void save();
    };
    document.addEventListener("visibilitychange", hidden);
    return () => {
      document.removeEventListener("visibilitychange", hidden);
      clearTimeout(timer.current);
      if (now.current.saving === "unsaved") void save();
    };
  }, []);

  // The server's word on what is there now, each time it was changed and then left for a moment.
  const text = JSON.stringify(state.body);
  useEffect(() => {
    const over = new AbortController();
    const wait = setTimeout(() => {
      api<Schemas["Validation"]>("POST", "drafts/validate/", { json: now.current.body, signal: over.signal }).then(
        (validation) => change({ validation }),
        () => {},
      );
    }, VALIDATE_MS);
    return () => {
      clearTimeout(wait);
      over.abort();
    };
  }, [text]);

  const takeTheirs = (): void => {
    const theirs = now.current.conflict!;
    change({ draft: theirs, body: theirs.body, saving: "saved", conflict: null });
  };
  const keepMine = (): void => {
    change({ draft: now.current.conflict!, saving: "unsaved", conflict: null });
    void save();
  };

  /** Creates the job and sends it on its way, once; its id. Throws ApiError. */
  const submit = async (): Promise<string> => {
    if (!(await save())) throw new Error(now.current.said || "The draft could not be saved.");
    const draft = now.current.draft!;
    const reply = await api<Schemas["SubmittedDraft"]>("POST", `drafts/${part(draft.id)}/submit/`, {
      headers: { "If-Match": `"${draft.version}"` },
      once: `submit-${draft.id}-${draft.version}`,
    });
    return reply.id;
  };

  return { ...state, error, edit, submit, takeTheirs, keepMine };
}
