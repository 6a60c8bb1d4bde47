/** Asks before the page goes, while there is something of it that the server does not have. */

const reasons = new Set<() => boolean>();

/** Asks as long as `isUnsaved`; it is for modules, and holds as long as the page. */
export function askBefore(isUnsaved: () => boolean): void {
  reasons.add(isUnsaved);
}

/** Begins the page anew without asking: it is somebody else's, and nothing of who was here before stays. */
export function reload(): void {
  reasons.clear();
  window.location.reload();
}

if (typeof window !== "undefined") {
  window.addEventListener("beforeunload", (event) => {
    if ([...reasons].some((isUnsaved) => isUnsaved())) event.preventDefault();
  });
}
