/** A button with a menu: arrows move, Escape closes, the focus comes back. */

import type { LucideIcon } from "lucide-preact";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button } from "./parts";
import { ChevronDown } from "./icons";

export type Item = {
  label: string;
  icon?: LucideIcon;
  run?: () => void;
  href?: string; // a link, which may be opened in a new tab
  why?: string; // why it cannot be chosen now
  isChecked?: boolean; // one of several settings
  isDownload?: boolean;
};

type Props = {
  label: string;
  items: Item[];
  icon?: LucideIcon;
  children?: ComponentChildren; // what the button shows; with none its icon alone
  isSmall?: boolean;
  kind?: "primary" | "plain" | "";
  side?: "start" | "end";
  tabIndex?: number; // -1 in a grid, whose keys lead here
};

export function Menu({ label, items, icon, children, isSmall, kind = "", side = "end", tabIndex }: Props) {
  const [isOpen, open] = useState(false);
  const anchor = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const close = (giveBack: boolean): void => {
    open(false);
    if (giveBack) anchor.current?.querySelector<HTMLElement>("button")?.focus();
  };
  useLayoutEffect(() => {
    if (!isOpen) return;
    list.current!.showPopover?.();
    place(anchor.current!, list.current!, side);
    list.current!.querySelector<HTMLElement>("[role^=menuitem]")?.focus();
    const outside = (event: Event): void => {
      if (!(event.target instanceof Node && anchor.current?.contains(event.target))) open(false);
    };
    document.addEventListener("pointerdown", outside);
    const moved = (): void => place(anchor.current!, list.current!, side);
    document.addEventListener("scroll", moved, true);
    window.addEventListener("resize", moved);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("scroll", moved, true);
      window.removeEventListener("resize", moved);
    };
  }, [isOpen]);
  const keys = (event: KeyboardEvent): void => {
    const all = [...(list.current?.querySelectorAll<HTMLElement>("[role^=menuitem]") ?? [])];
    const at = all.indexOf(document.activeElement as HTMLElement);
    const steps: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1 + all.length,
      Home: 0,
      End: all.length - 1,
    };
    if (event.key in steps) all[steps[event.key]! % all.length]?.focus();
    else if (event.key === "Escape") close(true);
    else if (event.key === "Tab") open(false);
    else if (event.key.length === 1 && /\S/.test(event.key)) {
      const from = [...all.slice(at + 1), ...all.slice(0, at + 1)];
      from.find((each) => each.textContent?.trim().toLowerCase().startsWith(event.key.toLowerCase()))?.focus();
      if (event.key !== " ") event.stopPropagation();
      return;
    } else return;
    if (event.key !== "Tab") event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="menu-anchor" role="presentation" ref={anchor} onKeyDown={isOpen ? keys : undefined}>
      <Button
        small={isSmall ?? false}
        kind={kind}
        {...(icon ? { icon } : {})}
        {...(children === undefined ? { label } : {})}
        {...(tabIndex === undefined ? {} : { tabIndex })}
        aria-haspopup="menu"
        aria-expanded={isOpen ? "true" : "false"}
        onClick={() => open(!isOpen)}
      >
        {children === undefined ? undefined : (
          <>
            {children}
            <ChevronDown size={14} class="icon" />
          </>
        )}
      </Button>
      {isOpen ? (
        <div role="menu" aria-label={label} class="menu" popover="manual" ref={list}>
          {items.map((item) => {
            const Icon = item.icon;
            const inside = (
              <>
                {Icon ? <Icon size={16} class="icon" /> : null}
                <span class="grow">{item.label}</span>
                {item.isChecked ? <span aria-hidden="true">✓</span> : null}
              </>
            );
            const role = item.isChecked === undefined ? "menuitem" : "menuitemradio";
            if (item.href && !item.why) {
              return (
                <a
                  key={item.label}
                  role="menuitem"
                  tabIndex={-1}
                  href={item.href}
                  {...(item.isDownload ? { download: "" } : {})}
                  onClick={() => close(false)}
                >
                  {inside}
                </a>
              );
            }
            return (
              <button
                key={item.label}
                type="button"
                role={role}
                tabIndex={-1}
                title={item.why ?? ""}
                {...(item.isChecked === undefined ? {} : { "aria-checked": item.isChecked ? "true" : "false" })}
                {...(item.why ? { "aria-disabled": "true" } : {})}
                onClick={() => {
                  if (item.why) return;
                  close(true);
                  item.run?.();
                }}
              >
                {inside}
              </button>
            );
          })}
        </div>
      ) : null}
    </div>
  );
}

const GAP = 4;

/** Below its button or, where there is no room, above. In the top layer nothing cuts it off. */
function place(anchor: HTMLElement, menu: HTMLElement, side: "start" | "end"): void {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const { clientWidth, clientHeight } = document.documentElement;
  const left = side === "start" ? at.left : at.right - width;
  const below = at.bottom + GAP;
  const top = below + height <= clientHeight || at.top < height + GAP ? below : at.top - GAP - height;
  menu.style.left = `${Math.max(GAP, Math.min(left, clientWidth - width - GAP))}px`;
  menu.style.top = `${Math.max(GAP, Math.min(top, clientHeight - height - GAP))}px`;
}
