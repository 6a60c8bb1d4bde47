/** Whether a media query holds, and when that changes. */

import { useEffect, useState } from "preact/hooks";

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
