/** What the page has to know of the installation, fetched once and kept fresh. */

import { signal } from "@preact/signals";
import { skew } from "../lib/format";
import { api } from "./client";
import type { Notice, User } from "./types";

export type Boot = {
  version: string;
  siteName: string;
  user: User;
  rights: { canWrite: boolean; isAdmin: boolean };
  isolation: string;
  isolationDetail: string;
  engines: Record<string, { isolation: string; isolationDetail: string; trouble: string }>;
  cores: number;
  memoryBytes: number;
  features: string[];
  solvers: { code: string; name: string; installed: boolean; version: string; installHint: string }[];
  examples: { name: string; isRunnable: boolean; whyNot: string }[];
  now: string;
  notices: Notice[];
};

export const boot = signal<Boot | null>(null);

/** Asks for a session where there is none: see `request`. Throws ApiError. */
export async function start(): Promise<void> {
  const before = Date.now();
  const reply = await api<Boot>("GET", "console/");
  skew.value = new Date(reply.now).getTime() - (before + Date.now()) / 2;
  boot.value = reply;
}

export const canWrite = (): boolean => boot.value?.rights.canWrite ?? false;
