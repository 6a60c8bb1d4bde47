/** What the page has to know of the installation, fetched once and kept fresh. */

import { signal } from "@preact/signals";
import { skew } from "../lib/format";
import { forgetOthers } from "../lib/resuming";
import { api } from "./client";
import type { Schemas } from "./types";

export const boot = signal<Schemas["Console"] | null>(null);

/** Asks for a session where there is none: see `request`. Throws ApiError. */
export async function start(): Promise<void> {
  const before = Date.now();
  const reply = await api<Schemas["Console"]>("GET", "console/");
  skew.value = new Date(reply.now).getTime() - (before + Date.now()) / 2;
  boot.value = reply;
  forgetOthers(reply.user.email);
}
export const canWrite = (): boolean => boot.value?.rights.canWrite ?? false;
