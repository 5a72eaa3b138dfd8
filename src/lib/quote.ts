/** For messages: input in double quotes, its control characters escaped, long ones cut. */
export function quote(input: string): string {
  const shown = input.length > 80 ? `${input.slice(0, 80)}…` : input;
  return JSON.stringify(shown).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
