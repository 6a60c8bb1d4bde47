/**
 * Where one is in a list of any length.
 *
 * A browser clamps elements at some 17 to 33 million pixels, so a longer list is scaled: its element
 * is MOST_PX high, dragging the thumb jumps to a share of the whole, and every smaller movement moves
 * by real pixels.
 */

export const MOST_PX = 8_000_000;
export const SMALL = 3; // views: what moves further than this was the thumb

export class Scroll {
  /** Pixels above the view, of the whole list. */
  top = 0;
  private total = 0;
  private view = 0;
  private at = 0; // where the element was scrolled to when `top` was set

  /** The height that the element has. */
  get height(): number {
    return Math.min(this.total, MOST_PX);
  }

  /** By how many pixels a row is further down in the list than in the element: the same while one scrolls. */
  get shift(): number {
    return this.isScaled ? Math.round(this.top - this.at) : 0;
  }

  get isScaled(): boolean {
    return this.total > MOST_PX;
  }

  private get most(): number {
    return Math.max(0, this.total - this.view);
  }

  resize(total: number, view: number): void {
    this.total = total;
    this.view = view;
    this.top = Math.min(this.top, this.most);
  }

  /** The element was scrolled to `at`, by whatever. */
  scrolled(at: number): void {
    const room = Math.max(1, this.height - this.view);
    const moved = at - this.at;
    this.at = at;
    if (!this.isScaled) this.top = at;
    else if (at <= 0) this.top = 0;
    else if (at >= room) this.top = this.most;
    else if (Math.abs(moved) > SMALL * this.view) this.top = (at / room) * this.most;
    else this.top = Math.max(0, Math.min(this.top + moved, this.most));
  }

  /** Go to a place; returns where the element has to be scrolled to. */
  to(top: number): number {
    this.top = Math.max(0, Math.min(top, this.most));
    return this.settle();
  }

  /** After small movements the thumb is not where its share is: where it has to be scrolled to. */
  settle(): number {
    const room = Math.max(0, this.height - this.view);
    if (!this.isScaled) this.at = Math.round(this.top);
    else if (this.top <= 0) this.at = 0;
    else if (this.top >= this.most) this.at = room;
    else this.at = Math.min(room - 1, Math.max(1, Math.round((this.top / this.most) * room)));
    return this.at;
  }
}
