/**
 * Uploads that go on: while other pages are looked at, after the connection or the server was lost, and,
 * once the same file is chosen again, after the browser was closed.
 *
 * They are the page's, not a component's. A few are sent at a time: a browser has six connections to a
 * server in all, and the streams take of them too.
 */

import { signal } from "@preact/signals";
import type { Upload as Sender } from "tus-js-client";
import { boot } from "../api/boot";
import { address, newKey, request } from "../api/client";
import { changed } from "../api/queries";
import { askBefore } from "./leaving";
import { keptAs } from "./resuming";
import { plural } from "./words";

export type Upload = {
  key: string;
  batch: string; // the page or draft that it is for
  name: string;
  path: string; // with its folders, as it was dropped
  size: number;
  sent: number;
  state: "waiting" | "sending" | "lost" | "done" | "failed" | "paused"; // lost: it goes on by itself
  error: string;
  file: string; // id of the file that it became
  isTaken: boolean; // the page that it is for has put it where it belongs
};

const AT_ONCE = 3;
const CHUNK = 8 * 1024 * 1024; // bytes of a request: what is sent again at most
const AGAIN_MS = 2_000;
const PAUSES_MS = [0, 500, 1_000, 3_000, 5_000, 10_000, 15_000, 15_000, 15_000, 15_000];

export const uploads = signal<Upload[]>([]);

const contents = new Map<string, File>();
const senders = new Map<string, Sender>(); // also of what is paused, lost or failed: they know where it is
let held: Promise<void> | null = null; // nothing is sent before
const finished = new Set<(upload: Upload) => void>();

/** Be told of each upload that is done; returns how to stop. */
export function onUploaded(handler: (upload: Upload) => void): () => void {
  finished.add(handler);
  return () => finished.delete(handler);
}

export type Dropped = { file: File; path: string };

export function add(dropped: Dropped[], batch = ""): Upload[] {
  const added = dropped.map(
    ({ file, path }): Upload => ({
      key: newKey(),
      batch,
      name: file.name,
      path: path || file.name,
      size: file.size,
      sent: 0,
      state: "waiting",
      error: "",
      file: "",
      isTaken: false,
    }),
  );
  added.forEach((upload, n) => contents.set(upload.key, dropped[n]!.file));
  uploads.value = [...uploads.value, ...added];
  next();
  return added;
}

export function pause(key: string): void {
  void senders.get(key)?.abort();
  update(key, { state: "paused" });
  next();
}

/** Goes on with what was paused or failed. */
export function resume(key: string): void {
  update(key, { state: "waiting", error: "" });
  next();
}

/** Takes it off the list; what the server has of it goes too. */
export function drop(key: string): void {
  const upload = uploads.value.find((each) => each.key === key);
  const sender = senders.get(key);
  senders.delete(key);
  contents.delete(key);
  uploads.value = uploads.value.filter((each) => each.key !== key);
  if (sender && upload?.state !== "done") void forget(sender);
  next();
}

/** Has the server give up what it has of an upload: at once, or when it can be reached again. */
async function forget(sender: Sender): Promise<void> {
  void sender.abort();
  try {
    await held;
    await sender.abort(true);
  } catch {
    // Then it is given up once it is too old.
  }
  changed("uploads/");
}

/** Once: what is done with it afterwards stays. */
export const markTaken = (key: string): void => update(key, { isTaken: true });

/** A page that became a draft: what is uploaded for it, under this word or one that begins with it, is the draft's. */
export function moveBatch(from: string, to: string): void {
  uploads.value = uploads.value.map((each) =>
    each.batch.startsWith(from) ? { ...each, batch: to + each.batch.slice(from.length) } : each,
  );
}

/** Why what they are for cannot do with them yet; "" where all are there. */
export function whatIsMissing(some: Pick<Upload, "state">[]): string {
  const count = (is: (state: Upload["state"]) => boolean): number => some.filter((each) => is(each.state)).length;
  const failed = count((state) => state === "failed");
  const paused = count((state) => state === "paused");
  const going = count((state) => state !== "done");
  const [n, words] = failed
    ? [failed, `failed: try again or take ${failed === 1 ? "it" : "them"} off the list`]
    : paused
      ? [paused, `paused: go on or take ${paused === 1 ? "it" : "them"} off the list`]
      : [going, "under way"];
  return n ? `${n} ${plural(n, "upload")} ${words}.` : "";
}

/** What is known of a file without reading it: the same again is taken for the same file. */
export const fingerprint = (file: Pick<File, "name" | "size" | "lastModified">, path: string): string =>
  `${path}|${file.size}|${file.lastModified}`;

function update(key: string, change: Partial<Upload>): void {
  uploads.value = uploads.value.map((each) => (each.key === key ? { ...each, ...change } : each));
}

function next(): void {
  if (held) return;
  let free = AT_ONCE - uploads.value.filter((each) => each.state === "sending").length;
  for (const upload of uploads.value) {
    if (free <= 0) return;
    if (upload.state !== "waiting") continue;
    free -= 1;
    update(upload.key, { state: "sending" });
    void send(upload).catch((error: unknown) => ended(upload.key, error));
  }
}

async function send({ key, path, batch }: Upload): Promise<void> {
  const file = contents.get(key);
  if (!file) return;
  const { Upload: TusUpload } = await import("tus-js-client");
  const mark = fingerprint(file, path);
  const sender = new TusUpload(file, {
    endpoint: address("uploads/"),
    chunkSize: CHUNK,
    retryDelays: PAUSES_MS,
    headers: { "X-Simyard": "1" },
    metadata: { filename: file.name, relativePath: path, typeId: "1", batch, fingerprint: mark },
    fingerprint: () => Promise.resolve(keptAs(boot.value?.user.email ?? "", mark)),
    removeFingerprintOnSuccess: true,
    onProgress: (sent) => update(key, { sent }),
    onAfterResponse: (asked, response) => {
      const status = response.getStatus();
      if (asked.getMethod() === "HEAD" && LOST.includes(status)) {
        if (status === 401) hold();
        throw new Error("Not now."); // else it is taken for an upload that is gone, and begun anew
      }
      const id = response.getHeader("Simyard-File");
      if (id) update(key, { file: id });
    },
    onError: (error) => void ended(key, error),
    onSuccess: () => {
      senders.delete(key);
      contents.delete(key);
      update(key, { state: "done", sent: file.size });
      const done = uploads.value.find((each) => each.key === key);
      if (done) for (const handler of finished) handler(done);
      next();
    },
  });
  const [earlier] = await sender.findPreviousUploads();
  if (earlier) sender.resumeFromPreviousUpload(earlier);
  if (uploads.value.find((each) => each.key === key)?.state !== "sending") return; // paused meanwhile
  senders.set(key, sender);
  sender.start();
}

type Reply = { getBody(): string; getStatus(): number };

// No answer, no session, or a proxy's word that the server is not there: nobody refused the file.
const LOST = [0, 401, 502, 503, 504];

async function ended(key: string, error: unknown): Promise<void> {
  const reply = (error as { originalResponse?: Reply | null }).originalResponse;
  const isLost = LOST.includes(reply?.getStatus() ?? 0);
  const isGone = isLost && !(await isReadable(contents.get(key)));
  if (uploads.value.find((each) => each.key === key)?.state !== "sending") return; // paused meanwhile
  if (isGone) update(key, { state: "failed", error: "The file is not there any more, or was changed." });
  else if (isLost) update(key, { state: "lost" });
  else update(key, { state: "failed", error: reason(reply!) });
  if (isLost && !isGone) hold();
  next();
}

/** A file that was moved or written to cannot be sent, and looks like a lost connection. */
const isReadable = async (file: File | undefined): Promise<boolean> =>
  file === undefined ||
  (await file
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => true,
      () => false,
    ));

/** Sends nothing until the server answers again, and answers somebody who is signed in; then all that was lost. */
function hold(): void {
  held ??= reachable().then(() => {
    held = null;
    uploads.value = uploads.value.map((each) => (each.state === "lost" ? { ...each, state: "waiting" } : each));
    next();
  });
}

async function reachable(): Promise<void> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    try {
      await request("GET", "session/"); // asks for a session where there is none
      return;
    } catch {
      // Not yet.
    }
  }
}

/** The server's own words, where it said any. */
function reason(reply: Reply): string {
  try {
    const body = JSON.parse(reply.getBody()) as Record<string, unknown>;
    const first = body["detail"] ?? Object.values(body)[0];
    return Array.isArray(first) ? String(first[0]) : String(first);
  } catch {
    return "The server refused it.";
  }
}

/** Whatever was dropped: files, and folders with all that is in them. */
export async function dropped(transfer: DataTransfer): Promise<Dropped[]> {
  const entries = [...transfer.items]
    .map((item) => item.webkitGetAsEntry?.())
    .filter((entry) => entry !== null && entry !== undefined);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found: Dropped[] = [];
  const walk = async (entry: FileSystemEntry, folder: string): Promise<void> => {
    const path = folder ? `${folder}/${entry.name}` : entry.name;
    if (entry.isFile) {
      found.push({
        file: await new Promise((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)),
        path,
      });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      // Each call gives a hundred at most: only an empty one is the end.
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const each of some) await walk(each, path);
    }
  };
  for (const entry of entries) await walk(entry, "");
  return found;
}

/** Of an input: with `webkitdirectory`, files know their folder. */
export const chosen = (files: FileList | null): Dropped[] =>
  [...(files ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name }));

// Leaving the page would end what is being sent; it would go on when the file is chosen again.
askBefore(() => uploads.value.some((each) => ["sending", "waiting", "lost"].includes(each.state)));
