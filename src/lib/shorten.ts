/** For messages: the first names of a list, and a sign that there are more. */
export function shorten(names: readonly (string | number)[], separator: string, most = 5): string {
  return names.slice(0, most).join(separator) + (names.length > most ? ' …' : '');
}
