/**
 * Texts that are copied here: a terminal acts on what it does not show, before a shell sees any quotes.
 * And names of files, which show what nobody would see of them.
 */

/** Controls, other ends of lines, and what writes a text in another order than it is read. */
export const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u;

const ALL = new RegExp(UNSEEN, "gu");

/** JSON in which they are escapes, but for the ends of its own lines. */
export const json = (value: unknown, indent = 0): string =>
  JSON.stringify(value, null, indent).replace(ALL, (c) =>
    c === "\n" ? c : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

/** A name with marks in their place: pictures of controls, the numbers of the others. */
export const seen = (name: string): string =>
  name.replace(ALL, (c) => {
    const code = c.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
  });
