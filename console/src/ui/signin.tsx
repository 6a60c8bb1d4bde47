/** Signing in, over whatever is on the screen: nothing that was typed there is lost. */

import { useState } from "preact/hooks";
import { ApiError, api, signedIn, signedOut } from "../api/client";
import { start } from "../api/boot";
import type { Session } from "../api/types";
import { Dialog } from "./dialog";
import { Button, Field } from "./parts";

/** Opens a session with a one-time link, if the address has one: /login#t=TOKEN. */
export async function openLink(): Promise<string> {
  const token = /^#t=(.+)$/.exec(window.location.hash)?.[1];
  if (!token) return "";
  history.replaceState(null, "", window.location.pathname.replace(/login\/?$/, ""));
  try {
    await api<Session>("POST", "session/", { json: { link: decodeURIComponent(token) }, quiet: true });
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export function SignIn({ said = "" }: { said?: string }) {
  const [key, setKey] = useState("");
  const [error, fail] = useState(said);
  const [isBusy, busy] = useState(false);
  if (!signedOut.value) return null;
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    busy(true);
    try {
      await api<Session>("POST", "session/", { json: { key: key.trim() }, quiet: true });
      setKey("");
      fail("");
      signedIn();
      void start();
    } catch (problem) {
      fail(problem instanceof ApiError && problem.status === 401 ? "This key opens nothing here." : problem instanceof Error ? problem.message : String(problem));
    }
    busy(false);
  };
  return (
    <Dialog title="Sign in to Simyard" onClose={() => {}} isFirm>
      <form class="stack" onSubmit={submit}>
        <Field
          label="API key"
          name="key"
          errors={error ? [error] : []}
          hint={
            <>
              On the server, <code>simyard keys create --data DIR --email EMAIL</code> makes one, and <code>simyard keys link</code> a link that signs in.
            </>
          }
        >
          {(props) => (
            <input
              {...props}
              class="input mono"
              type="password"
              name="key"
              autocomplete="current-password"
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
              required
            />
          )}
        </Field>
        <div class="dialog-actions">
          <Button kind="primary" type="submit" disabled={isBusy}>
            Sign in
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
