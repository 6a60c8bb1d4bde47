/** What the screen is like, and when that changes. */

import { useEffect, useState } from "preact/hooks";

/** Whether a media query holds. */
export function useMedia(query: string): boolean {
  const [is, set] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const look = (): void => set(media.matches);
    look();
    media.addEventListener("change", look);
    return () => media.removeEventListener("change", look);
  }, [query]);
  return is;
}

export const PHONE = "(max-width: 640px)";
export const COARSE = "(pointer: coarse)";

const DARK = "(prefers-color-scheme: dark)";

/** Another word whenever colours are others: for what is drawn on a canvas. */
export function useTheme(): string {
  const isDark = useMedia(DARK);
  const [chosen, set] = useState(document.documentElement.dataset["theme"] ?? "");
  useEffect(() => {
    const observer = new MutationObserver(() => set(document.documentElement.dataset["theme"] ?? ""));
    observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    return () => observer.disconnect();
  }, []);
  return `${chosen} ${isDark}`;
}

/** A colour such as "var(--text)" as a canvas takes it, which knows no variables. */
export function resolved(element: HTMLElement, colour: string): string {
  element.style.color = colour;
  const found = getComputedStyle(element).color;
  element.style.color = "";
  return found;
}
