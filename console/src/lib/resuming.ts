/**
 * What the browser keeps of uploads that were interrupted, so that they go on when the same file is
 * chosen again. It is kept for whoever sent it: nobody else finds anything of it.
 */

import { address } from "../api/client";

const LIBRARY = "tus::"; // what tus-js-client puts in front
const ours = (): string => `simyard|${address("uploads/")}|`;

/** The name under which a person's upload is kept, without `mark` what all names of the person begin with. */
export const keptAs = (email: string, mark = ""): string => `${ours()}${encodeURIComponent(email)}|${mark}`;

/** Forgets the uploads of everybody but one; of all where there is no one. */
export function forgetOthers(email: string | null): void {
  try {
    for (const name of Object.keys(localStorage)) {
      const isMine = email !== null && name.startsWith(LIBRARY + keptAs(email));
      if (name.startsWith(LIBRARY + ours()) && !isMine) localStorage.removeItem(name);
    }
  } catch {
    // Without a storage nothing is kept.
  }
}
