/** What is chosen of a run's files, as rules: folders ("a/b/"), files ("a/b.txt"), and what is left out of them. */

export type Rules = { include: readonly string[]; exclude: readonly string[] };
export const NOTHING: Rules = { include: [], exclude: [] };

const isBelow = (path: string, rule: string): boolean =>
  rule === "" || path === rule || (rule.endsWith("/") && path.startsWith(rule));
const longest = (path: string, rules: readonly string[]): number =>
  Math.max(-1, ...rules.filter((rule) => isBelow(path, rule)).map((rule) => rule.length));

/** Whether a file or a whole folder is chosen: the rule closest to it decides. */
export const isChosen = (rules: Rules, path: string): boolean =>
  longest(path, rules.include) > longest(path, rules.exclude);

/** Whether some of a folder is chosen and some is not. */
export function isMixed(rules: Rules, folder: string): boolean {
  const inside = (all: readonly string[]): boolean => all.some((rule) => rule !== folder && isBelow(rule, folder));
  return isChosen(rules, folder) ? inside(rules.exclude) : inside(rules.include);
}

/**
 * With a file or folder chosen, or left out, and whatever was said about what is below it forgotten.
 * What is left out of a folder stays out though something in it is chosen again, so that is refused.
 */
export function toggled(rules: Rules, path: string): Rules {
  const without = (all: readonly string[]): string[] => all.filter((rule) => !isBelow(rule, path));
  const include = without(rules.include);
  const exclude = without(rules.exclude);
  const wasWhole = isChosen(rules, path) && !isMixed(rules, path);
  const rest = { include, exclude };
  if (wasWhole) return isChosen(rest, path) ? { include, exclude: [...exclude, path] } : rest;
  return isChosen(rest, path) ? rest : { include: [...include, path], exclude };
}

/** Whether a rule above leaves it out: it cannot be chosen by itself. */
export const isLeftOut = (rules: Rules, path: string): boolean =>
  rules.exclude.some((rule) => rule !== path && isBelow(path, rule));

export const isNothing = (rules: Rules): boolean => rules.include.length === 0;

/** As it stands in the address: "+a/|-a/b/|+c.txt"; a "|" or "%" in a name is escaped. */
export function write(rules: Rules): string {
  const safe = (path: string): string => path.replace(/[%|]/g, encodeURIComponent);
  return [...rules.include.map((path) => `+${safe(path)}`), ...rules.exclude.map((path) => `-${safe(path)}`)].join("|");
}

export function read(text: string | undefined): Rules {
  const include: string[] = [];
  const exclude: string[] = [];
  for (const item of (text ?? "").split("|")) {
    const path = item.slice(1).replace(/%25|%7C/gi, (code) => decodeURIComponent(code));
    if (item.startsWith("+")) include.push(path);
    if (item.startsWith("-")) exclude.push(path);
  }
  return { include, exclude };
}

/** A name as the server is asked for it: one that looks like a pattern as the pattern that only it matches. */
export const exact = (path: string): string =>
  path.endsWith("/") || !/[*?[]/.test(path) ? path : `/${path.replace(/[*?[]/g, (c) => `[${c}]`)}`;

/** As the server takes them: nothing in `include` is everything. */
export function sent(rules: Rules): { include: string[]; exclude: string[] } {
  return { include: rules.include.includes("") ? [] : rules.include.map(exact), exclude: rules.exclude.map(exact) };
}
