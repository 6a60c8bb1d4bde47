/** Which rows are chosen: some by their ids, or all that match, whether they were fetched or not. */

export class Selection {
  private constructor(
    readonly ids: ReadonlySet<string>,
    readonly isAll: boolean,
    /** Where a range begins. */
    readonly anchor: number | null,
  ) {}

  static readonly none = new Selection(new Set(), false, null);

  get isEmpty(): boolean {
    return !this.isAll && !this.ids.size;
  }

  has(id: string): boolean {
    return this.isAll || this.ids.has(id);
  }

  /** `loaded`: the rows that are there, which stay chosen where one is taken out of all that match. */
  toggled(id: string, index: number, loaded: readonly string[] = []): Selection {
    const ids = new Set(this.isAll ? loaded : this.ids);
    if (!ids.delete(id)) ids.add(id);
    return new Selection(ids, false, index);
  }

  /** From where the last one was chosen to here. Returns also how many of those are not fetched, and so left out. */
  ranged(index: number, idAt: (index: number) => string | undefined): [Selection, number] {
    const from = this.anchor ?? index;
    const ids = new Set(this.isAll ? [] : this.ids);
    let missing = 0;
    for (let n = Math.min(from, index); n <= Math.max(from, index); n++) {
      const id = idAt(n);
      if (id === undefined) missing += 1;
      else ids.add(id);
    }
    return [new Selection(ids, false, from), missing];
  }

  static of(ids: Iterable<string>): Selection {
    return new Selection(new Set(ids), false, null);
  }

  static all(): Selection {
    return new Selection(new Set(), true, null);
  }

  /** The next range begins here. */
  anchored(index: number): Selection {
    return new Selection(this.ids, this.isAll, index);
  }

  cleared(): Selection {
    return new Selection(new Set(), false, this.anchor);
  }
}
