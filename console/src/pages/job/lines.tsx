/** Lines of a log as they are drawn. Text nodes only; colours come when what reads them is loaded. */

import { signal } from "@preact/signals";
import { plain, spans, type Shown, type Span } from "./text";

type Read = (text: string) => Span[];

const colours = signal<Read | null>(null);
let isAsked = false;

function load(): void {
  if (isAsked) return;
  isAsked = true;
  void import("anser").then(
    ({ default: Anser }) => {
      colours.value = (text) => spans(Anser.ansiToJson(text, { json: true, remove_empty: true }));
    },
    () => {
      isAsked = false;
    },
  );
}

/** What a line consists of. A colour that goes on over the end of a line is not followed. */
export function spansOf(shown: Shown): Span[] {
  if (shown.hasColour) {
    if (colours.value) return colours.value(shown.text);
    load();
  }
  return [{ text: plain(shown.text), tone: "", isBold: false }];
}
