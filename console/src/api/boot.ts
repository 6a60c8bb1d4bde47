/** What the page has to know of the installation, fetched once and kept fresh. */

import { signal } from "@preact/signals";
import { skew } from "../lib/format";
import { forgetOthers } from "../lib/resuming";
import { request } from "./client";
import type { Schemas } from "./types";

export const boot = signal<Schemas["Console"] | null>(null);

/** Asks for a session where there is none: see `request`. Throws ApiError. */
export async function start(): Promise<void> {
  const response = await request("GET", "console/");
  // Not of the body, which may be one that the browser has kept.
  const now = new Date(response.headers.get("X-Simyard-Now") ?? "").getTime();
  skew.value = now - Date.now() || 0;
  const reply = (await response.json()) as Schemas["Console"];
  boot.value = reply;
  forgetOthers(reply.user.email);
}
export const canWrite = (): boolean => boot.value?.rights.canWrite ?? false;
