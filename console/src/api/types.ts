/**
 * The replies that pages read: names for schemas of the OpenAPI document, so that a page does not
 * compile once the contract is another. `npm run types` writes them.
 */

import type { components } from "./schema";

export type Schemas = components["schemas"];

export type Page<T> = { count: number; next: string | null; previous: string | null; results: T[] };

export type Job = Schemas["Job"];
export type JobRow = Schemas["JobRow"];
export type Outcome = Schemas["Outcome"];
export type Run = Schemas["Run"];
export type RowsPage = Schemas["JobRows"];
export type SeriesData = Schemas["SeriesData"];
export type Status = Pick<Schemas["Status"], "status" | "statusDate" | "statusReason">;
export type StoredFile = Schemas["File"];
