/** What may be larger than its place and scrolls in it, by keys too. */

import type { ComponentChildren, JSX, RefObject } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

type Focus = { tabIndex?: number; role?: "group"; "aria-label"?: string };

/** What a scroller takes while it has something to scroll: what fits is no stop on the way of Tab. */
function useScroll<E extends HTMLElement>(label: string): [RefObject<E>, Focus] {
  const scroller = useRef<E>(null);
  const [isLarge, enlarge] = useState(false);
  const look = (): void => {
    const { scrollWidth, clientWidth, scrollHeight, clientHeight } = scroller.current!;
    enlarge(scrollWidth > clientWidth || scrollHeight > clientHeight);
  };
  useLayoutEffect(look); // of what is in it now
  useLayoutEffect(() => {
    const watch = new ResizeObserver(look);
    watch.observe(scroller.current!);
    const inside = scroller.current!.firstElementChild; // of code there is text only, which comes with a render
    if (inside) watch.observe(inside);
    return () => watch.disconnect();
  }, []);
  return [scroller, isLarge ? { tabIndex: 0, role: "group", "aria-label": label } : {}];
}

type TableProps = {
  label: string; // what it is a table of
  class?: string;
  place?: string; // the class of what scrolls
  style?: JSX.CSSProperties;
  children: ComponentChildren;
};

export function Table({ label, class: more = "", place = "", style, children }: TableProps) {
  const [scroller, focus] = useScroll<HTMLDivElement>(label);
  return (
    <div ref={scroller} class={`scroll-x ${place}`} style={style} {...focus}>
      <table class={`table ${more}`} {...(focus.role ? {} : { "aria-label": label })}>
        {children}
      </table>
    </div>
  );
}

/** Of a column whose cells say enough to those who see them. */
export const UnseenHead = ({ children }: { children: string }) => (
  <th scope="col">
    <span class="hidden-visually">{children}</span>
  </th>
);

type CodeProps = { label: string; class?: string; children: ComponentChildren };

export function Code({ label, class: more = "", children }: CodeProps) {
  const [scroller, focus] = useScroll<HTMLPreElement>(label);
  return (
    <pre ref={scroller} class={`code ${more}`} {...focus}>
      {children}
    </pre>
  );
}
