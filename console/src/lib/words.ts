/** Words as they stand in sentences. */

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** One file, two files. */
export const plural = (count: number | null | undefined, noun: string): string => (count === 1 ? noun : `${noun}s`);

/** A path without its folders. */
export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** What went wrong, whatever was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
