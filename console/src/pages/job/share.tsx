/** Who else sees a job. */

import { useState } from "preact/hooks";
import { ApiError, api, type FieldErrors } from "../../api/client";
import { jobPath } from "../../api/jobs";
import { changed } from "../../api/queries";
import type { Job } from "../../api/types";
import { messageOf } from "../../lib/words";
import { Dialog } from "../../ui/dialog";
import { X } from "../../ui/icons";
import { Banner, Button, Field, Script } from "../../ui/parts";
import { toast } from "../../ui/toasts";

export function Share({ job, onClose }: { job: Job; onClose: () => void }) {
  const [email, setEmail] = useState("");
  const [message, setMessage] = useState("");
  const [errors, fail] = useState<FieldErrors>({});
  const [said, say] = useState("");
  const [isBusy, busy] = useState(false);
  const path = `${jobPath(job.id)}share/`;
  const ask = async (method: "POST" | "DELETE", json: object, done: string): Promise<boolean> => {
    busy(true);
    fail({});
    say("");
    try {
      await api(method, path, { json });
      changed(jobPath(job.id));
      toast(done, "good");
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.fields["email"]) fail(error.fields);
      else say(messageOf(error));
      return false;
    } finally {
      busy(false);
    }
  };
  return (
    <Dialog title={`Share ${job.name}`} onClose={onClose} actions={<Button onClick={onClose}>Close</Button>}>
      <form
        class="stack"
        onSubmit={async (event) => {
          event.preventDefault();
          if (await ask("POST", { email: email.trim(), message }, `${email.trim()} sees this job now.`)) {
            setEmail("");
            setMessage("");
          }
        }}
      >
        <Field label="E-mail of a member" name="email" errors={errors["email"] ?? []}>
          {(props) => (
            <input
              {...props}
              class="input"
              type="email"
              value={email}
              onInput={(event) => setEmail(event.currentTarget.value)}
              required
            />
          )}
        </Field>
        <Script
          label="Message"
          name="message"
          hint="It comes with the notification."
          rows={2}
          isProse
          value={message}
          set={setMessage}
        />
        {said ? <Banner tone="bad">{said}</Banner> : null}
        <div>
          <Button kind="primary" type="submit" disabled={isBusy}>
            Share
          </Button>
        </div>
      </form>
      <section class="stack-small">
        <h3>Who sees it</h3>
        <ul class="people">
          <li>
            <bdi>{job.owner}</bdi> <span class="quiet">owner</span>
          </li>
          {job.sharedWith.map((each) => (
            <li key={each}>
              <bdi>{each}</bdi>
              <Button
                small
                kind="plain"
                icon={X}
                disabled={isBusy}
                onClick={() => void ask("DELETE", { email: each }, `${each} does not see this job any more.`)}
              >
                Remove
              </Button>
            </li>
          ))}
        </ul>
      </section>
    </Dialog>
  );
}
