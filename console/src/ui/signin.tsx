/** Signing in, over whatever is on the screen: nothing that was typed there is lost. */

import { useState } from "preact/hooks";
import { ApiError, api, signedIn, signedOut } from "../api/client";
import { boot, start } from "../api/boot";
import type { Schemas } from "../api/types";
import { reload } from "../lib/leaving";
import { messageOf } from "../lib/words";
import { Dialog } from "./dialog";
import { Button, Field } from "./parts";

/** What the server says of the one thing that it was sent. */
const saidOf = (error: unknown, field: string): string =>
  (error instanceof ApiError ? error.fields[field]?.[0] : undefined) ?? messageOf(error);

/** Opens a session with a one-time link, if the address has one: /login#t=TOKEN. */
export async function openLink(): Promise<string> {
  const token = /^#t=(.+)$/.exec(window.location.hash)?.[1];
  if (!token) return "";
  history.replaceState(null, "", window.location.pathname.replace(/login\/?$/, ""));
  try {
    await api<Schemas["Session"]>("POST", "session/", { json: { link: decodeURIComponent(token) }, quiet: true });
    return "";
  } catch (error) {
    return saidOf(error, "link");
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
      const session = await api<Schemas["Session"]>("POST", "session/", { json: { key: key.trim() }, quiet: true });
      // What the page shows, and the requests that wait, are those of who was here before.
      if (boot.value && boot.value.user.email !== session.user.email) return reload();
      setKey("");
      fail("");
      signedIn();
      void start();
    } catch (problem) {
      fail(saidOf(problem, "key"));
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
              On the server, <code>simyard keys create --data DIR --email EMAIL</code> makes one, and{" "}
              <code>simyard keys link</code> a link that signs in.
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
