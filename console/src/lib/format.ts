/** Numbers, sizes and times as people of the field read them, and as a paste takes them. */

import { signal } from "@preact/signals";

const GROUP = "\u202f";

/** Four significant digits; whole numbers whole; NaN and infinities by name; "-" for nothing. */
export function number(value: number | string | null | undefined): string {
  if (value === null || value === undefined || value === "") return "-";
  const n = typeof value === "string" ? Number(value) : value;
  if (typeof value === "string" && Number.isNaN(n)) return value;
  if (!Number.isFinite(n)) return String(n);
  if (n === 0) return "0";
  const size = Math.abs(n);
  if (Number.isInteger(n) && size < 1e15) return grouped(n);
  if (size >= 1e6 || size < 1e-3) return n.toExponential(3).replace(/e([+-])(\d)$/, "e$10$2");
  return String(Number(n.toPrecision(4)));
}

/** 12 345 with a narrow space, from five digits on. */
export function grouped(n: number): string {
  const text = String(Math.trunc(n));
  const digits = text.replace("-", "");
  return digits.length < 5 ? text : text.replace(/\B(?=(\d{3})+$)/g, GROUP);
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Decimal: 1.24 GB. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "-";
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return `${size.toFixed(digits)} ${UNITS[unit]}`;
}

/** 42 s, 2 min 05 s, 3 h 12 min, 2 d 4 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "-";
  const s = Math.max(0, seconds);
  if (s < 10) return `${Number(s.toFixed(1))} s`;
  const whole = Math.round(s);
  const two = (n: number): string => String(n).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export const isUtc = signal(stored("simyard.utc") === "1");

export function chooseUtc(utc: boolean): void {
  isUtc.value = utc;
  store("simyard.utc", utc ? "1" : null);
}

/** The server's clock against ours, milliseconds; set by the boot reply. */
export const skew = signal(0);
export const serverNow = (): number => Date.now() + skew.value;

export const zone = (): string =>
  isUtc.value ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "local";

const SAID = {
  weekday: "short",
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
} as const;
const NUMBERED = { ...SAID, month: "2-digit", day: "2-digit" } as const;
const makers = new Map<string, Intl.DateTimeFormat>(); // costly to make, and a list has many times

function partsOf(date: Date, format: Intl.DateTimeFormatOptions): Record<string, string> {
  const key = `${format.month} ${isUtc.value}`;
  let maker = makers.get(key);
  if (!maker) {
    maker = new Intl.DateTimeFormat("en-GB", isUtc.value ? { ...format, timeZone: "UTC" } : format);
    makers.set(key, maker);
  }
  return Object.fromEntries(maker.formatToParts(date).map(({ type, value }) => [type, value]));
}

/** 14:03:10 today, Sat 21 Nov 14:03 this year, 2025-11-21 14:03 before. */
export function moment(iso: string | null | undefined, now = serverNow()): string {
  if (!iso) return "-";
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const { weekday, year, month, day, hour, minute, second } = partsOf(at, SAID);
  const today = partsOf(new Date(now), SAID);
  if (year !== today["year"]) {
    const numbered = partsOf(at, NUMBERED);
    return `${year}-${numbered["month"]}-${numbered["day"]} ${hour}:${minute}`;
  }
  if (month === today["month"] && day === today["day"]) return `${hour}:${minute}:${second}`;
  return `${weekday} ${day} ${month} ${hour}:${minute}`;
}

/** 42 s, 3 min, 2 h, 4 d. */
export function rough(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return seconds < 86400 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/** 4 min ago; in 2 h. */
export function ago(iso: string | null | undefined, now = serverNow()): string {
  if (!iso) return "";
  const seconds = (now - new Date(iso).getTime()) / 1000;
  const text = rough(Math.abs(seconds));
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

/** Of local settings; null where there is no storage. */
export function stored(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function store(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // Kept for this page only.
  }
}
