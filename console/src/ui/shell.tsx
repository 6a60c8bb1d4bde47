/** What stands around every page. */

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { Link, useLocation } from "wouter-preact";
import { boot } from "../api/boot";
import { api } from "../api/client";
import { connection, heardAt } from "../lib/events";
import { chooseUtc, isUtc, moment, store, stored, zone } from "../lib/format";
import { useKeys } from "../lib/keys";
import { forgetOthers } from "../lib/resuming";
import { Help } from "./help";
import {
  Gauge,
  Library,
  List,
  LayoutGrid,
  LogOut,
  Moon,
  PanelLeft,
  Plus,
  Search,
  Settings,
  Sun,
  User,
  WifiOff,
} from "./icons";
import { Menu } from "./menu";
import { Palette, isHelpOpen, isPaletteOpen } from "./palette";
import { Banner, Button } from "./parts";
import { Toasts } from "./toasts";

const ICON = document.querySelector<HTMLLinkElement>("link[rel=icon]")?.href ?? ""; // in the page: no request
const isRailNarrow = signal(stored("simyard.rail") === "narrow");

export type Crumb = { label: string; href?: string };
const crumbs = signal<Crumb[]>([]);

/** The page says where it is: the bar above, and the title of the tab. */
export function useCrumbs(...path: Crumb[]): void {
  const text = path.map((each) => `${each.label} ${each.href ?? ""}`).join("|");
  useEffect(() => {
    crumbs.value = path;
    document.title = `${path.toReversed().map((each) => each.label).join(" - ")} - Simyard`;
  }, [text]);
}

const PLACES = [
  { href: "/jobs", label: "Jobs", icon: List, keys: "g j" },
  { href: "/studies", label: "Studies", icon: LayoutGrid, keys: "g s" },
  { href: "/library", label: "Library", icon: Library, keys: "g l" },
  { href: "/jobs/new", label: "New job", icon: Plus, keys: "g n" },
];
const BELOW = [
  { href: "/usage", label: "Usage", icon: Gauge, keys: "g u" },
  { href: "/settings", label: "Settings", icon: Settings, keys: "g ," },
];

function chooseTheme(theme: "light" | "dark" | null): void {
  if (theme) document.documentElement.dataset["theme"] = theme;
  else delete document.documentElement.dataset["theme"];
  store("simyard.theme", theme);
}

export function Shell({ children }: { children: ComponentChildren }) {
  const [path, go] = useLocation();
  const goes = [...PLACES, ...BELOW].map((place) => ({
    keys: place.keys,
    label: `Go to ${place.label.toLowerCase()}`,
    group: "Everywhere",
    run: () => go(place.href),
  }));
  useKeys([
    {
      keys: "Ctrl k",
      label: "Search and commands",
      group: "Everywhere",
      run: () => (isPaletteOpen.value = true),
      isHidden: true,
    },
    { keys: "?", label: "Show keys", group: "Everywhere", run: () => (isHelpOpen.value = true) },
    { keys: "c", label: "New job", group: "Everywhere", run: () => go("/jobs/new") },
    ...goes,
    { keys: "", label: "Light theme", group: "Settings", run: () => chooseTheme("light") },
    { keys: "", label: "Dark theme", group: "Settings", run: () => chooseTheme("dark") },
    { keys: "", label: "Theme of the system", group: "Settings", run: () => chooseTheme(null) },
  ]);
  const isAt = (href: string): boolean =>
    href === "/jobs/new" ? path === href : path !== "/jobs/new" && (path === href || path.startsWith(`${href}/`));
  const place = ({ href, label, icon: Icon }: (typeof PLACES)[number]) => (
    <li key={href}>
      <Link href={href} {...(isAt(href) ? { "aria-current": "page" as const } : {})} title={label}>
        <Icon size={18} class="icon" />
        <span class="word">{label}</span>
      </Link>
    </li>
  );
  return (
    <div class={`shell ${isRailNarrow.value ? "narrow-rail" : ""}`}>
      <a class="skip" href="#main" onClick={skip}>
        To the content
      </a>
      <nav class="rail" aria-label="Main">
        <Link href="/jobs" class="brand" aria-label="Simyard">
          <img src={ICON} alt="" width="20" height="20" />
          <span class="word">Simyard</span>
        </Link>
        <ul>{PLACES.map(place)}</ul>
        <span class="below" />
        <ul>{BELOW.map(place)}</ul>
        <Button
          class="rail-toggle"
          kind="plain"
          icon={PanelLeft}
          label={isRailNarrow.value ? "Show names" : "Hide names"}
          onClick={() => {
            isRailNarrow.value = !isRailNarrow.value;
            store("simyard.rail", isRailNarrow.value ? "narrow" : null);
          }}
        />
      </nav>
      <header class="top">
        <nav class="crumbs" aria-label="Where you are">
          <ol>
            {crumbs.value.map((each, n) => (
              <li key={each.label} {...(n === crumbs.value.length - 1 ? { "aria-current": "page" as const } : {})}>
                {each.href ? <Link href={each.href}>{each.label}</Link> : each.label}
              </li>
            ))}
          </ol>
        </nav>
        <Button icon={Search} small onClick={() => (isPaletteOpen.value = true)} aria-label="Search, Ctrl K">
          <kbd>Ctrl K</kbd>
        </Button>
        <ConnectionState />
        <Menu
          label="You and this page"
          icon={User}
          kind="plain"
          items={[
            { label: boot.value?.user.email ?? "Not signed in", icon: User, run: () => go("/settings") },
            {
              label: "Light",
              icon: Sun,
              run: () => chooseTheme("light"),
              isChecked: document.documentElement.dataset["theme"] === "light",
            },
            {
              label: "Dark",
              icon: Moon,
              run: () => chooseTheme("dark"),
              isChecked: document.documentElement.dataset["theme"] === "dark",
            },
            {
              label: "As the system",
              run: () => chooseTheme(null),
              isChecked: !document.documentElement.dataset["theme"],
            },
            { label: `Times in UTC (now ${zone()})`, run: () => chooseUtc(!isUtc.value), isChecked: isUtc.value },
            { label: "Keys", run: () => (isHelpOpen.value = true) },
            { label: "First minutes", run: () => go("/welcome") },
            { label: "Sign out", icon: LogOut, run: signOut },
          ]}
        />
      </header>
      <div class="notice-line">
        <Lost />
        {Object.entries(boot.value?.engines ?? {})
          .filter(([, engine]) => engine.trouble)
          .map(([name, engine]) => (
            <Banner key={name} tone="warning">
              {name}: {engine.trouble}
            </Banner>
          ))}
      </div>
      <main id="main" tabIndex={-1}>
        {children}
      </main>
      <Palette />
      <Help />
      <Toasts />
    </div>
  );
}

function skip(event: Event): void {
  event.preventDefault(); // the address stays: <base> would take the fragment elsewhere
  document.getElementById("main")?.focus();
}

async function signOut(): Promise<void> {
  await api("DELETE", "session/", { quiet: true }).catch(() => {});
  forgetOthers(null);
  window.location.reload();
}

function ConnectionState() {
  const state = connection.value;
  return (
    <span class="connection" title={state === "open" ? `Live. Times are ${zone()}.` : "Not live"}>
      {state === "open" ? (
        <svg width="8" height="8" aria-hidden="true">
          <circle cx="4" cy="4" r="4" fill="var(--good)" />
        </svg>
      ) : (
        <WifiOff size={14} class="icon" />
      )}
      <span class="word">{state === "open" ? "live" : state === "connecting" ? "connecting" : "not live"}</span>
    </span>
  );
}

function Lost() {
  if (connection.value !== "lost") return null;
  return (
    <Banner tone="warning">
      No connection to the server. What you see is of {moment(new Date(heardAt.value).toISOString(), Date.now())}; it is
      brought up to date when the connection is back.
    </Banner>
  );
}
