/** The replies that pages read. Names and shapes are those of the OpenAPI document. */

export type Outcome = {
  verdict: string; // completed, stopped, not converged, diverged, incomplete, suspect, failed
  isGood: boolean;
  cause: string;
  message: string;
  advice?: string;
  ending?: string;
  exitCode?: number | null;
  signal?: string | null;
  step?: string;
  evidence?: { path: string; line: number; offset: number; text: string } | null;
  cpuSeconds?: number | null;
  quietSeconds?: number | null;
  used?: Record<string, { most: number; limit: number | null; isReached: boolean }>;
};

export type Notice = { code: string; message: string };

export type Page<T> = { count: number; next: string | null; previous: string | null; results: T[] };

export type User = { id: string; email: string; fullName: string; role: "admin" | "member" | "read-only" };

export type Session = { user: User; expiresAt: string | null };
