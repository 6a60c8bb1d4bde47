/** A job of the list: ten cells on a wide screen, two lines on a phone. */

import { Component } from "preact";
import { Link } from "wouter-preact";
import type { JobRow, Schemas } from "../../api/types";
import { TONES, percent, roughlyLeft } from "../../lib/convergence";
import { duration, moment, number } from "../../lib/format";
import { jobHref } from "../../lib/hrefs";
import { WELL, farOf } from "../../lib/studies";
import { Ellipsis, TriangleAlert } from "../../ui/icons";
import { Menu, type Item } from "../../ui/menu";
import { Progress, Sparkline, Time } from "../../ui/parts";
import { State } from "../../ui/state";
import { isActive } from "./actions";

const TAGS_SHOWN = 2;
const COURSE = 56; // px, as the bar below it

export type RowProps = {
  row: JobRow;
  index: number;
  isActive: boolean; // the keys are here
  isChosen: boolean;
  isGone: boolean; // deleted, or not shared any more
  spark: Schemas["Sparkline"] | undefined;
  now: number; // 0 for one whose time does not go on
  no: string; // why nothing can be changed now: what the items depend on
  items: (row: JobRow) => Item[];
  onPick: (index: number, event: MouseEvent | KeyboardEvent) => void;
};

/** Drawn anew only where something of it is another: scrolling draws all rows in view at each step. */
export class Cells extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    return (Object.keys(next) as (keyof RowProps)[]).some((name) => next[name] !== this.props[name]);
  }

  override render() {
    const { row, index, isChosen, isGone, spark, now, items, onPick } = this.props;
    const tab = this.props.isActive ? 0 : -1;
    const name = row.name || "Untitled";
    return (
      <>
        <div role="gridcell" class="c-check">
          <input
            type="checkbox"
            aria-label={`Select ${name}`}
            tabIndex={tab}
            checked={isChosen}
            onClick={(event) => onPick(index, event)}
          />
        </div>
        <div role="gridcell" class="c-state">
          <State status={row.status} outcome={row.outcome} reason={row.reason} />
        </div>
        <div role="gridcell" class="c-name">
          <Link
            href={jobHref(row.id)}
            class="ellipsis"
            title={name}
            tabIndex={tab}
            onPointerEnter={() => void import("../job")}
          >
            <bdi>{name}</bdi>
          </Link>
          <Marks row={row} />
        </div>
        <div role="gridcell" class="c-analysis ellipsis" title={analyses(row, true)}>
          {analyses(row, false)}
        </div>
        <div role="gridcell" class="c-progress">
          {isGone ? <Text text="Deleted, or no longer shared with you" /> : <Course row={row} spark={spark} />}
        </div>
        <div role="gridcell" class="c-cores number" title={cores(row)}>
          {row.cores}
          {row.isStudy && row.slots > 1 ? <span class="quiet"> × {row.slots}</span> : null}
        </div>
        <div role="gridcell" class="c-elapsed number" title={left(row, now)}>
          {elapsed(row, now)}
        </div>
        <div role="gridcell" class="c-started">
          {row.startedAt ? (
            <Time at={row.startedAt} />
          ) : (
            <span class="faint" title={`Created ${moment(row.insertedAt)}`}>
              -
            </span>
          )}
        </div>
        <div role="gridcell" class="c-cost number" title={cost(row)}>
          {number(row.cost === null ? null : Number(row.cost.toFixed(2)))}
        </div>
        <div role="gridcell" class="c-menu">
          <Menu label={`Actions for ${name}`} icon={Ellipsis} isSmall kind="plain" items={items(row)} tabIndex={tab} />
        </div>
      </>
    );
  }
}

/** What is attached to the name: whose it is, tags, and whether there is something to know. */
function Marks({ row }: { row: JobRow }) {
  const more = row.tags.length - TAGS_SHOWN;
  return (
    <span class="marks" title={row.tags.join(", ")}>
      {row.notices ? (
        <span class="notices" title={`${row.notices} notice${row.notices > 1 ? "s" : ""}: see the job`}>
          <TriangleAlert size={14} class="icon" />
          <span class="hidden-visually">{row.notices} notices</span>
        </span>
      ) : null}
      {row.isMine ? null : (
        <span class="quiet" title={row.owner.email}>
          of <bdi>{row.owner.fullName || row.owner.email}</bdi>
        </span>
      )}
      {row.tags.slice(0, TAGS_SHOWN).map((tag) => (
        <span key={tag} class="tag">
          <bdi>{tag}</bdi>
        </span>
      ))}
      {more > 0 ? <span class="quiet">+{more}</span> : null}
    </span>
  );
}

/** How far it is, or how it ended. */
function Course({ row, spark }: { row: JobRow; spark: Schemas["Sparkline"] | undefined }) {
  if (row.study && row.study.total) {
    const { share, text } = farOf(row);
    if (share === null) return <Text text={told(row)} />;
    return (
      <>
        <Progress value={share} label={`Runs: ${text}`} />
        <span class="ellipsis" title={text}>
          {text}
        </span>
      </>
    );
  }
  if (isActive(row) && (spark || row.convergence)) return <Running row={row} spark={spark} />;
  return <Text text={told(row)} />;
}

/** How far its run is, its curve, whether it converges and how long it still takes, as far as that is known. */
function Running({ row, spark }: { row: JobRow; spark: Schemas["Sparkline"] | undefined }) {
  const { progress, convergence } = row;
  const of = spark ? `${spark.key}${spark.scale === "log" ? ", log10" : ""}` : "";
  const last = spark?.points.findLast((point) => point !== null);
  const state = !convergence || convergence.state === "unknown" ? null : convergence.state;
  const far = progress === null ? "" : `${percent(progress)} of the way to its last step`;
  const left = convergence?.eta ? roughlyLeft(convergence.eta) : "";
  const isSaid = far || state || left;
  return (
    <>
      <span class="course">
        {spark ? (
          <Sparkline
            values={spark.points}
            label={`Course of ${of}${last === undefined ? "" : `, now ${last}`}`}
            width={COURSE}
            height={far ? 16 : 20}
          />
        ) : null}
        <Progress value={progress} label={far} />
      </span>
      <span class="quiet ellipsis" title={isSaid ? [far, convergence?.sentence].filter(Boolean).join(". ") : of}>
        {state ? <span class={`tone-${TONES[state]}`}>{state}</span> : null}
        {state && left ? ", " : ""}
        {left}
        {state || left ? null : progress === null ? spark?.key.split("/").pop() : percent(progress)}
      </span>
    </>
  );
}

const Text = ({ text }: { text: string }) => (
  <span class="ellipsis quiet" title={text}>
    {text}
  </span>
);

/** Why it waits, or how it ended, as the server says it. */
function told(row: JobRow): string {
  const { outcome, reason } = row;
  if (outcome) return outcome.message || outcome.cause;
  return reason === WELL ? "" : (reason ?? "");
}

const analyses = (row: JobRow, isLong: boolean): string =>
  row.analyses.map(({ name, version }) => (isLong && version ? `${name} ${version}` : name)).join(", ");

const cores = (row: JobRow): string =>
  `${row.cores} cores of ${row.coreType}${row.isStudy ? `, ${row.slots} runs at once` : ""}`;

function seconds(row: JobRow, now: number): number | null {
  if (!row.startedAt) return null;
  const end = row.endedAt ? new Date(row.endedAt).getTime() : now;
  return end ? (end - new Date(row.startedAt).getTime()) / 1000 : null;
}

const elapsed = (row: JobRow, now: number): string => duration(seconds(row, now));

function left(row: JobRow, now: number): string {
  const used = seconds(row, now);
  if (!row.walltime || used === null || row.endedAt) return "";
  const rest = row.walltime * 3600 - used;
  return `Walltime ${row.walltime} h: at most ${duration(rest)} left${row.isStudy ? " of each run" : ""}`;
}

const cost = (row: JobRow): string =>
  row.cost === null
    ? "Too many runs to add up here: see the study"
    : `${row.cost} (${number(row.coreHours)} core-hours)`;
