/** What the server tells of a run's residuals, in words and tones. */

import type { Schemas } from "../api/types";
import { duration, rough } from "./format";

export type Converging = Schemas["Convergence"];
type Eta = NonNullable<Converging["eta"]>;

export const TONES: Record<Converging["state"], "good" | "running" | "warning" | "bad" | "draft"> = {
  converged: "good",
  converging: "running",
  stalled: "warning",
  oscillating: "warning",
  diverging: "bad",
  unknown: "draft",
};

export const leftText = (eta: Eta): string =>
  eta.high === null
    ? `at least ${duration(Math.round(eta.low))} left`
    : eta.high - eta.low < 0.3 * eta.seconds || eta.high < 10
      ? `about ${duration(Math.round(eta.seconds))} left`
      : `${duration(Math.round(eta.low))} to ${duration(Math.round(eta.high))} left`;

/** For a cell of a table. */
export const roughlyLeft = (eta: Eta): string =>
  eta.high === null ? `at least ${rough(eta.low)} left` : `about ${rough(eta.seconds)} left`;

/** Never rounded up: what is not done is no 100 %. progress: at most three decimals. */
export const percent = (progress: number): string => `${Math.floor(Math.round(progress * 1000) / 10)} %`;
