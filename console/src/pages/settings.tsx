/** Oneself, and one's keys; for administrators, members and invitations. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Link } from "wouter-preact";
import { boot } from "../api/boot";
import { api, newKey, part, type FieldErrors, ApiError } from "../api/client";
import { changed, useGet } from "../api/queries";
import type { Page, Schemas } from "../api/types";
import { chooseUtc, isUtc, zone } from "../lib/format";
import { isOn, turn } from "../lib/keys";
import { messageOf } from "../lib/words";
import { Confirm, Dialog } from "../ui/dialog";
import { Plus } from "../ui/icons";
import { Banner, Button, Choice, CopyButton, Count, Failure, Field, Panel, Skeleton, Time } from "../ui/parts";
import { Code, Table, UnseenHead } from "../ui/scroll";
import { useCrumbs } from "../ui/shell";
import { toast } from "../ui/toasts";

type ApiKey = Schemas["ApiKey"];

const VIEWS = [
  ["profile", "Profile"],
  ["keys", "API keys"],
  ["members", "Members"],
] as const;

export default function Settings({ params }: { params: Record<string, string | undefined> }) {
  const view = VIEWS.find(([name]) => name === params["view"])?.[0] ?? "profile";
  useCrumbs({ label: "Settings", href: "/settings" }, { label: VIEWS.find(([name]) => name === view)![1] });
  return (
    <div class="page stack">
      <h1>Settings</h1>
      <nav class="tabs" aria-label="Settings">
        {VIEWS.map(([name, label]) => (
          <Link key={name} href={`/settings/${name}`} {...(name === view ? { "aria-current": "page" as const } : {})}>
            {label}
          </Link>
        ))}
      </nav>
      {view === "profile" ? <Profile /> : view === "keys" ? <Keys /> : <Members />}
    </div>
  );
}

function Profile() {
  const user = boot.value!.user;
  return (
    <div class="stack">
      <Panel title="You">
        <dl class="facts">
          <dt>Name</dt>
          <dd>
            <bdi>{user.fullName}</bdi>
          </dd>
          <dt>Address</dt>
          <dd>{user.email}</dd>
          <dt>Role</dt>
          <dd>{user.role}</dd>
        </dl>
      </Panel>
      <Panel title="This browser">
        <div class="stack-small">
          <label class="row">
            <input type="checkbox" checked={isUtc.value} onChange={(event) => chooseUtc(event.currentTarget.checked)} />
            Times in UTC (now {zone()})
          </label>
          <label class="row">
            <input type="checkbox" checked={isOn.value} onChange={(event) => turn(event.currentTarget.checked)} />
            Single letters are keys
          </label>
        </div>
      </Panel>
      <Panel title="This server">
        <dl class="facts">
          <dt>Version</dt>
          <dd>{boot.value!.version}</dd>
          <dt>Isolation of jobs</dt>
          <dd>
            {boot.value!.isolation} <span class="quiet">{boot.value!.isolationDetail}</span>
          </dd>
          <dt>API</dt>
          <dd>
            <a href="api/openapi.json" target="_blank" rel="noreferrer">
              OpenAPI document
            </a>
          </dd>
        </dl>
      </Panel>
    </div>
  );
}

function Keys() {
  const keys = useGet<Page<ApiKey>>("keys/", { page_size: 200 });
  const [isMaking, make] = useState(false);
  const [going, revoke] = useState<ApiKey | null>(null);
  return (
    <Panel
      title="API keys"
      tools={
        <Button small icon={Plus} onClick={() => make(true)}>
          New key
        </Button>
      }
    >
      <p class="quiet">Keys are for scripts and the command line. This page works with a session of its own.</p>
      {keys.error ? <Failure error={keys.error} what="Your keys" again={() => void keys.refetch()} /> : null}
      {!keys.data && !keys.error ? <Skeleton rows={3} /> : null}
      {keys.data ? (
        <Table label="API keys">
          <thead>
            <tr>
              <th scope="col">Label</th>
              <th scope="col">Id</th>
              <th scope="col">Made</th>
              <th scope="col">Good until</th>
              <UnseenHead>Actions</UnseenHead>
            </tr>
          </thead>
          <tbody>
            {keys.data.results.map((key) => (
              <tr key={key.id}>
                <td>
                  <bdi>{key.label || <span class="faint">no label</span>}</bdi>
                </td>
                <td class="mono">{key.id}</td>
                <td>
                  <Time at={key.dateInserted} />
                </td>
                <td>
                  {key.dateRevoked ? (
                    <span class="quiet">
                      revoked <Time at={key.dateRevoked} />
                    </span>
                  ) : key.dateExpires ? (
                    <Time at={key.dateExpires} relative />
                  ) : (
                    "it is revoked"
                  )}
                </td>
                <td class="number">
                  {key.dateRevoked ? null : (
                    <Button small kind="danger" onClick={() => revoke(key)}>
                      Revoke
                    </Button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      ) : null}
      {isMaking ? <NewKey onClose={() => make(false)} /> : null}
      {going ? (
        <Confirm
          title={`Revoke ${going.label || going.id}?`}
          verb="Revoke the key"
          isDanger
          onClose={() => revoke(null)}
          onConfirm={async () => {
            await api("DELETE", `keys/${part(going.id)}/`);
            changed("keys/");
            toast("The key opens nothing any more.", "good");
          }}
        >
          <p>What uses it is refused at once, and so are sessions that began with it. This cannot be undone.</p>
        </Confirm>
      ) : null}
    </Panel>
  );
}

type Once = { title: string; text: string; onClose: () => void; children: ComponentChildren };

/** What the server tells but this time: the dialog stays until somebody says that he has it. */
function ShownOnce({ title, text, onClose, children }: Once) {
  return (
    <Dialog title={title} onClose={onClose} isFirm actions={<Button onClick={onClose}>I have it</Button>}>
      <p>{children}</p>
      <Code label="Shown once">{text}</Code>
      <div class="row">
        <CopyButton text={text} />
      </div>
    </Dialog>
  );
}

function NewKey({ onClose }: { onClose: () => void }) {
  const [label, setLabel] = useState("");
  const [days, setDays] = useState<number>();
  const [errors, fail] = useState<FieldErrors>({});
  const [said, say] = useState("");
  const [key, made] = useState("");
  const [once] = useState(newKey);
  if (key) {
    return (
      <ShownOnce title="Your new key" text={key} onClose={onClose}>
        It is shown this once. Whoever has it can do what you can.
      </ShownOnce>
    );
  }
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const json = { label, ...(days === undefined ? {} : { expiresInDays: days }) };
    try {
      const reply = await api<Schemas["NewApiKey"]>("POST", "keys/", { json, once });
      made(reply.key);
      changed("keys/");
    } catch (error) {
      fail(error instanceof ApiError ? error.fields : {});
      say(messageOf(error));
    }
  };
  return (
    <Dialog title="New API key" onClose={onClose}>
      <form class="stack" onSubmit={submit}>
        {said && !Object.keys(errors).length ? <Banner tone="bad">{said}</Banner> : null}
        <Field label="Label" name="label" hint="What it is for: laptop, nightly build" errors={errors["label"] ?? []}>
          {(props) => (
            <input {...props} class="input" value={label} onInput={(event) => setLabel(event.currentTarget.value)} />
          )}
        </Field>
        <Count
          label="Good for, days"
          name="expiresInDays"
          hint="Empty: as long as this server allows"
          errors={errors["expiresInDays"] ?? []}
          value={days}
          set={setDays}
        />
        <div class="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit">
            Make the key
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function Members() {
  const members = useGet<Page<Schemas["Member"]>>("members/", { page_size: 200 });
  const isAdmin = boot.value!.rights.isAdmin;
  const invitations = useGet<Page<Schemas["Invitation"]>>("invitations/", { page_size: 200 }, { enabled: isAdmin });
  const [isInviting, invite] = useState(false);
  return (
    <div class="stack">
      <Panel
        title="Members"
        tools={
          isAdmin ? (
            <Button small icon={Plus} onClick={() => invite(true)}>
              Invite
            </Button>
          ) : undefined
        }
      >
        {members.error ? (
          <Failure error={members.error} what="The members" again={() => void members.refetch()} />
        ) : null}
        {!members.data && !members.error ? <Skeleton rows={3} /> : null}
        {members.data ? (
          <Table label="Members">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Address</th>
                <th scope="col">Role</th>
                <th scope="col">State</th>
              </tr>
            </thead>
            <tbody>
              {members.data.results.map((member) => (
                <tr key={member.id}>
                  <td>
                    <bdi>{member.fullName}</bdi>
                  </td>
                  <td>{member.email}</td>
                  <td>{member.role}</td>
                  <td>{member.isActive ? "active" : "left"}</td>
                </tr>
              ))}
            </tbody>
          </Table>
        ) : null}
      </Panel>
      {isAdmin && invitations.data?.results.length ? (
        <Panel title="Open invitations">
          <Table label="Open invitations">
            <thead>
              <tr>
                <th scope="col">Address</th>
                <th scope="col">Role</th>
                <th scope="col">Until</th>
                <UnseenHead>Actions</UnseenHead>
              </tr>
            </thead>
            <tbody>
              {invitations.data.results.map((each) => (
                <tr key={each.id}>
                  <td>{each.email}</td>
                  <td>{each.role}</td>
                  <td>
                    <Time at={each.dateExpires} relative />
                  </td>
                  <td class="number">
                    <Button
                      small
                      kind="danger"
                      onClick={async () => {
                        await api("DELETE", `invitations/${part(each.id)}/`).catch((error: Error) =>
                          toast(error.message, "bad"),
                        );
                        changed("invitations/");
                      }}
                    >
                      Withdraw
                    </Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </Table>
        </Panel>
      ) : null}
      {isInviting ? <Invite onClose={() => invite(false)} /> : null}
    </div>
  );
}

function Invite({ onClose }: { onClose: () => void }) {
  const [email, setEmail] = useState("");
  const [role, setRole] = useState("member");
  const [errors, fail] = useState<FieldErrors>({});
  const [said, say] = useState("");
  const [token, made] = useState("");
  const [once] = useState(newKey);
  if (token) {
    return (
      <ShownOnce title={`Invitation for ${email}`} text={token} onClose={onClose}>
        Hand this token over. It is shown this once; the guide to the API says how it is taken.
      </ShownOnce>
    );
  }
  return (
    <Dialog title="Invite somebody" onClose={onClose}>
      <form
        class="stack"
        onSubmit={async (event) => {
          event.preventDefault();
          try {
            const reply = await api<Schemas["NewInvitation"]>("POST", "invitations/", { json: { email, role }, once });
            made(reply.token);
            changed("invitations/");
          } catch (error) {
            fail(error instanceof ApiError ? error.fields : {});
            say(messageOf(error));
          }
        }}
      >
        {said && !Object.keys(errors).length ? <Banner tone="bad">{said}</Banner> : null}
        <Field label="Address" name="email" errors={errors["email"] ?? []}>
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
        <Choice label="Role" name="role" errors={errors["role"] ?? []} value={role} set={setRole}>
          <option value="member">member</option>
          <option value="read-only">read-only</option>
          <option value="admin">admin</option>
        </Choice>
        <div class="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit">
            Invite
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
