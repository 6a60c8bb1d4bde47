/** Replies that the list reads. Names and shapes are those of the OpenAPI document. */

export type RowOutcome = { verdict: string; isGood: boolean; cause: string; message: string };

export type JobRow = {
  id: string;
  name: string;
  status: string; // "" for a draft
  clusterStatus: string;
  reason: string | null;
  outcome: RowOutcome | null;
  analyses: { code: string; name: string; version: string }[];
  cores: number;
  coreType: string;
  slots: number;
  walltime: number | null; // hours
  isStudy: boolean;
  study: { total: number; ended: number; done: number | null; failed: number | null } | null;
  owner: { email: string; fullName: string };
  isMine: boolean;
  tags: string[];
  projectName: string | null;
  insertedAt: string;
  submittedAt: string | null;
  startedAt: string | null;
  endedAt: string | null;
  coreHours: number | null;
  cost: number | null;
  notices: number;
};

export type RowsPage = {
  rows: JobRow[];
  next: string | null; // a cursor
  previous: string | null;
  count: number | null;
  countIsExact: boolean;
  isPartial: boolean;
  at: number | null;
};

export type FacetValue = { value: string; label: string; count: number };

export type Facets = {
  total: number;
  status: FacetValue[] | null;
  outcome: FacetValue[];
  analysis: FacetValue[];
  tag: FacetValue[];
  newest: number;
  isExact: boolean;
};

export type Sparks = Record<string, { key: string; scale: "log" | "linear"; points: (number | null)[] }>;

export type Machine = { cores: number; busy: number; running: number; queued: number; planned: number };
