/** The small parts that every page is made of. */

import type { LucideIcon } from "lucide-preact";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/client";
import { ago, bytes, duration, moment, number, serverNow } from "../lib/format";
import { messageOf } from "../lib/words";
import { Check, Copy, Info, OctagonX, RefreshCw, TriangleAlert } from "./icons";
import { toast } from "./toasts";

type ButtonProps = Omit<JSX.HTMLAttributes<HTMLButtonElement>, "icon" | "size"> & {
  kind?: "primary" | "danger" | "plain" | "";
  small?: boolean;
  icon?: LucideIcon;
  label?: string; // of a button with an icon only
  disabled?: boolean;
  why?: string; // why it cannot be pressed now: it stays in the order of Tab, and says so
  type?: "button" | "submit";
  form?: string;
};

export function Button({
  kind = "",
  small,
  icon: Icon,
  label,
  why,
  children,
  class: more,
  onClick,
  type,
  ...rest
}: ButtonProps) {
  const isBare = children === undefined || children === null;
  const classes = ["button", kind, small ? "small" : "", isBare ? "icon-only" : "", more ?? ""].filter(Boolean);
  return (
    <button
      type={type ?? "button"}
      class={classes.join(" ")}
      {...rest}
      {...(label ? { "aria-label": label } : {})}
      {...(why || label ? { title: why || label } : {})}
      {...(why ? { "aria-disabled": "true" } : {})}
      onClick={why ? (event) => event.preventDefault() : onClick}
    >
      {Icon ? <Icon size={16} class="icon" /> : null}
      {children}
    </button>
  );
}

type FieldProps = {
  label: string;
  name: string; // the path of the field in the body, where the server's messages say it
  hint?: ComponentChildren;
  errors?: string[];
  children: (props: { id: string; "aria-describedby"?: string; "aria-invalid"?: "true" }) => ComponentChildren;
};

/** The id of the input of a field, by the path of the field in the body. */
export const fieldId = (name: string): string => `field-${name.replace(/[^\w-]/g, "-")}`;

/** A labelled input with its messages: `children` gets what ties them together. */
export function Field({ label, name, hint, errors, children }: FieldProps) {
  const id = fieldId(name);
  const isBad = Boolean(errors?.length);
  const said = [hint ? `${id}-hint` : "", isBad ? `${id}-error` : ""].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, ...(said ? { "aria-describedby": said } : {}), ...(isBad ? { "aria-invalid": "true" } : {}) })}
      {hint ? (
        <div class="hint" id={`${id}-hint`}>
          {hint}
        </div>
      ) : null}
      {isBad ? (
        <div class="error" id={`${id}-error`}>
          <TriangleAlert size={16} class="icon" />
          <span>{errors!.join(" ")}</span>
        </div>
      ) : null}
    </div>
  );
}

type Labelled = Omit<FieldProps, "children">;

/** A labelled text of several lines: a script, unless it is `isProse`. */
export function Script({
  value,
  set,
  rows = 4,
  isProse = false,
  ...field
}: Labelled & { value: string; set: (text: string) => void; rows?: number; isProse?: boolean }) {
  return (
    <Field {...field}>
      {(props) => (
        <textarea
          {...props}
          class={`input ${isProse ? "" : "mono"}`}
          rows={rows}
          value={value}
          onInput={(event) => set(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

/** A labelled number from 1 on, or none. */
export function Count({
  value,
  set,
  ...field
}: Labelled & { value: number | null | undefined; set: (to: number | undefined) => void }) {
  return (
    <Field {...field}>
      {(props) => (
        <input
          {...props}
          class="input"
          type="number"
          min="1"
          value={value ?? ""}
          onInput={(event) => {
            const text = event.currentTarget.value;
            set(text.trim() === "" ? undefined : Number(text));
          }}
        />
      )}
    </Field>
  );
}

/** A labelled choice of one of its `children`, which are options or groups of them. */
export function Choice({
  value,
  set,
  children,
  ...field
}: Labelled & { value: string; set: (value: string) => void; children: ComponentChildren }) {
  return (
    <Field {...field}>
      {(props) => (
        <select {...props} class="input" value={value} onChange={(event) => set(event.currentTarget.value)}>
          {children}
        </select>
      )}
    </Field>
  );
}

export function Panel({
  title,
  tools,
  children,
  class: more,
  id,
}: {
  title?: string;
  tools?: ComponentChildren;
  children: ComponentChildren;
  class?: string;
  id?: string;
}) {
  const heading = useId();
  return (
    <section class={`panel ${more ?? ""}`} id={id} {...(title ? { "aria-labelledby": heading } : {})}>
      {title ? (
        <div class="panel-head">
          <h2 id={heading} class="grow">
            {title}
          </h2>
          {tools}
        </div>
      ) : null}
      <div class="panel-body">{children}</div>
    </section>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** Something could not be had: what, why, and again. One panel of a page, never the page. */
export function Failure({ error, what, again }: { error: unknown; what: string; again?: () => void }) {
  const known = error instanceof ApiError ? error : null;
  const isGone = known?.status === 404;
  return (
    <div class="banner tone-bad" role="alert">
      <OctagonX size={16} class="icon" />
      <div class="grow">
        <strong>{isGone ? `${what}: not found, or not shared with you.` : `${what} could not be loaded.`}</strong>
        {isGone ? null : <div>{messageOf(error)}</div>}
        {known && known.status > 0 && !isGone ? (
          <div class="mono">
            {known.status} {known.requestId}
          </div>
        ) : null}
      </div>
      {again && !isGone ? (
        <Button small icon={RefreshCw} onClick={again}>
          Retry
        </Button>
      ) : null}
    </div>
  );
}

export function Banner({
  tone = "running",
  children,
  tools,
}: {
  tone?: "running" | "warning" | "bad" | "good" | "draft" | "waiting";
  children: ComponentChildren;
  tools?: ComponentChildren;
}) {
  const Icon = tone === "warning" ? TriangleAlert : tone === "bad" ? OctagonX : tone === "good" ? Check : Info;
  return (
    <div class={`banner tone-${tone}`} role={tone === "bad" ? "alert" : "status"}>
      <Icon size={16} class="icon" />
      <div class="grow">{children}</div>
      {tools}
    </div>
  );
}

/** Grey rows where something will be; not at once, so that quick replies do not flicker. */
export function Skeleton({ rows = 6 }: { rows?: number }) {
  const [isShown, show] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => show(true), 150);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div class="stack" aria-busy="true">
      <span class="hidden-visually">Loading</span>
      {isShown ? Array.from({ length: rows }, (_, n) => <div key={n} class="skeleton" />) : null}
    </div>
  );
}

/** Shows now and what follows from it anew, every so many milliseconds. */
export function useNow(every = 1000, isOn = true): number {
  const [now, set] = useState(serverNow());
  useEffect(() => {
    if (!isOn) return;
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") set(serverNow());
    }, every);
    return () => clearInterval(timer);
  }, [every, isOn]);
  return now;
}

export function Time({ at, relative = false }: { at: string | null | undefined; relative?: boolean }) {
  if (!at) return <span class="faint">-</span>;
  return (
    <time dateTime={at} title={`${at} (${ago(at)})`} class="nowrap">
      {moment(at)}
      {relative ? <span class="quiet"> ({ago(at)})</span> : null}
    </time>
  );
}

export const Num = ({ value, unit }: { value: number | string | null | undefined; unit?: string }) => (
  <span title={value === null || value === undefined ? "" : `${value}${unit ? ` ${unit}` : ""}`}>
    {number(value)}
    {unit ? ` ${unit}` : ""}
  </span>
);

export const Bytes = ({ value }: { value: number | null | undefined }) => (
  <span class="nowrap" title={value === null || value === undefined ? "" : `${value} bytes`}>
    {bytes(value)}
  </span>
);

export const Span = ({ seconds }: { seconds: number | null | undefined }) => (
  <span class="nowrap" title={seconds === null || seconds === undefined ? "" : `${seconds} s`}>
    {duration(seconds)}
  </span>
);

/** To the clipboard, also where plain http has none. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    area.style.opacity = "0";
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function CopyButton({
  text,
  label = "Copy",
  small = true,
}: {
  text: string | (() => string);
  label?: string;
  small?: boolean;
}) {
  const [isDone, done] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>();
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <Button
      small={small}
      icon={isDone ? Check : Copy}
      onClick={async () => {
        if (await copy(typeof text === "string" ? text : text())) {
          done(true);
          timer.current = setTimeout(() => done(false), 1500);
        } else toast("The browser does not let this page copy.", "bad");
      }}
    >
      {isDone ? "Copied" : label}
    </Button>
  );
}

/** A share of the whole, where it is known. */
export function Progress({ value, label }: { value: number | null | undefined; label: string }) {
  if (value === null || value === undefined) return null;
  const share = Math.max(0, Math.min(1, value));
  return (
    <span
      class="progress"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
    >
      <i style={{ width: `${share * 100}%` }} />
    </span>
  );
}

/** A curve in a table's cell: values are drawn between their own least and most; NaN is a gap. */
export function Sparkline({
  values,
  label,
  width = 80,
  height = 20,
}: {
  values: readonly (number | null)[];
  label: string;
  width?: number;
  height?: number;
}) {
  const finite = values.filter((v): v is number => v !== null && Number.isFinite(v));
  if (finite.length < 2) return null;
  const low = Math.min(...finite);
  const range = Math.max(...finite) - low || 1;
  let path = "";
  let isOn = false;
  values.forEach((value, n) => {
    if (value === null || !Number.isFinite(value)) {
      isOn = false;
      return;
    }
    const x = (n / (values.length - 1)) * (width - 2) + 1;
    const y = height - 2 - ((value - low) / range) * (height - 4);
    path += `${isOn ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    isOn = true;
  });
  return (
    <svg width={width} height={height} role="img" aria-label={label}>
      <path d={path} fill="none" stroke="var(--series-1)" stroke-width="1.5" />
    </svg>
  );
}
