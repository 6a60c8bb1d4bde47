/** What the list is narrowed to: counts by status, text, and the rest. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Outcome, Schemas } from "../../api/types";
import { grouped } from "../../lib/format";
import { list, toggled, type Place } from "../../lib/query";
import { useKeys } from "../../lib/keys";
import { capital } from "../../lib/words";
import { shownState } from "../../ui/state";
import { FILTERS, OLDEST_FIRST } from "./filters";

const TYPING_MS = 250;

type Change = (change: Place, how?: { replace?: boolean }) => void;
type Props = { place: Place; change: Change; facets: Schemas["JobFacets"] | undefined; isPhone: boolean };

export const cleared = (): Place => Object.fromEntries(FILTERS.map((name) => [name, ""]));

export function Bar({ place, change, facets, isPhone }: Props) {
  const set = (name: string) => (value: string) => change({ [name]: value });
  const more = ["tag", "analysis", "owner", "since", "sort"].filter((name) => place[name]).length;
  const selects = (
    <>
      <Select
        label="Analysis"
        none="Any analysis"
        value={place["analysis"]}
        set={set("analysis")}
        options={facets?.analysis.map(option)}
      />
      <Select
        label="Tag"
        none="Any tag"
        value={place["tag"]}
        set={set("tag")}
        options={facets?.tag.filter(({ value }) => !value.includes(",")).map(option)}
      />
      <Select
        label="Owner"
        none="Anyone's"
        value={place["owner"]}
        set={set("owner")}
        options={[
          ["me", "Mine"],
          ["shared", "Shared with me"],
        ]}
      />
      <Select
        label="Created"
        none="At any time"
        value={place["since"]}
        set={set("since")}
        options={[["today", "Today"], ["yesterday", "Since yesterday"], ["7d", "In 7 days"], ["30d", "In 30 days"]]}
      />
      <Select
        label="Order"
        none="Newest first"
        value={place["sort"]}
        set={set("sort")}
        options={[[OLDEST_FIRST, "Oldest first"]]}
      />
    </>
  );
  return (
    <div class="stack-small jobs-bar" role="search" aria-label="Filters">
      <Chips place={place} change={change} facets={facets} />
      <div class="row">
        <TextFilter text={place["q"] ?? ""} set={(q) => change({ q }, { replace: true })} />
        {isPhone ? (
          <details class="jobs-more">
            <summary class="button">Filters{more ? ` (${more})` : ""}</summary>
            <div class="row">{selects}</div>
          </details>
        ) : (
          selects
        )}
      </div>
    </div>
  );
}

const option = ({ value, label, count }: Schemas["FacetValue"]): [string, string] => [
  value,
  `${label} (${grouped(count)})`,
];

function Chips({ place, change, facets }: Omit<Props, "isPhone">) {
  const chosen = { status: list(place["status"]), outcome: list(place["outcome"]) };
  const chip = (name: "status" | "outcome", value: string, label: string, count?: number) => (
    <button
      key={value}
      type="button"
      class="chip"
      aria-pressed={chosen[name].includes(value) ? "true" : "false"}
      onClick={() => change({ [name]: toggled(place[name], value) })}
    >
      <Shape name={name} label={label} />
      {label} {count === undefined ? null : <b>{grouped(count)}</b>}
    </button>
  );
  const isAll = !chosen.status.length && !chosen.outcome.length;
  // What is chosen stays, also where there is none of it now.
  const others = (name: "status" | "outcome"): string[] =>
    chosen[name].filter((value) => !facets?.[name]?.some((each) => each.value === value));
  return (
    <div class="jobs-chips">
      <div role="group" aria-label="Status">
        <button
          type="button"
          class="chip"
          aria-pressed={isAll ? "true" : "false"}
          onClick={() => change({ status: "", outcome: "" })}
        >
          All {facets ? <b>{grouped(facets.total)}</b> : null}
        </button>
        {(facets?.status ?? []).map((each) => chip("status", each.value, each.label, each.count))}
        {others("status").map((value) => chip("status", value, words(value), facets?.status ? 0 : undefined))}
      </div>
      {facets?.outcome.length || chosen.outcome.length ? (
        <div
          role="group"
          aria-label="How they ended"
          title={facets && !facets.isExact ? `Counted in the newest ${grouped(facets.newest)} jobs` : ""}
        >
          <span class="quiet">Ended</span>
          {(facets?.outcome ?? []).map((each) => chip("outcome", each.value, words(each.label), each.count))}
          {others("outcome").map((value) => chip("outcome", value, words(value), facets?.isExact ? 0 : undefined))}
        </div>
      ) : null}
    </div>
  );
}

/** The same shape and colour as in the rows. */
function Shape({ name, label }: { name: "status" | "outcome"; label: string }) {
  const verdict = label.toLowerCase() as Outcome["verdict"];
  const isOver = name === "status" && label === "Completed";
  const { icon: Icon, tone } =
    name === "outcome"
      ? shownState("Completed", { verdict, isGood: verdict === "completed" })
      : shownState(label === "Draft" ? "" : label);
  return isOver ? null : <Icon size={14} class={`icon tone-${tone}`} />;
}

/** NOT_CONVERGED, "not converged": Not converged. */
const words = (value: string): string => capital(value.replaceAll("_", " ").toLowerCase());

function TextFilter({ text, set }: { text: string; set: (text: string) => void }) {
  const [typed, type] = useState(text);
  const sent = useRef(text);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (text === sent.current) return;
    sent.current = text; // Back, or another filter's "clear"
    clearTimeout(timer.current);
    type(text);
  }, [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  useKeys([{ keys: "/", label: "Search in the list", group: "Jobs", run: () => box.current?.focus() }]);
  const send = (value: string): void => {
    clearTimeout(timer.current);
    sent.current = value.trim();
    set(sent.current);
  };
  return (
    <input
      ref={box}
      class="input jobs-text"
      type="search"
      placeholder="Name contains"
      aria-label="Name contains"
      value={typed}
      maxLength={200}
      onInput={(event) => {
        const { value } = event.currentTarget;
        type(value);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => send(value), TYPING_MS);
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter") send(event.currentTarget.value);
      }}
    />
  );
}

type SelectProps = {
  label: string;
  none: string;
  value: string | undefined;
  set: (value: string) => void;
  options: [value: string, label: string][] | undefined;
};

function Select({ label, none, value = "", set, options = [] }: SelectProps) {
  const isOther = value && !options.some(([known]) => known === value);
  return (
    <select
      class="input"
      aria-label={label}
      title={label}
      value={value}
      onChange={(event) => set(event.currentTarget.value)}
    >
      <option value="">{none}</option>
      {isOther ? <option value={value}>{value}</option> : null}
      {options.map(([each, text]) => (
        <option key={each} value={each}>
          {text}
        </option>
      ))}
    </select>
  );
}
