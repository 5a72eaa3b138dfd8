/**
 * Bash's command line, read and written as bash does, without evaluating any of it.
 *
 * Bash leaves both to the completion: what it hands over is the line as it is typed, with quotes and backslashes, and
 * what it gets back is put into the line as it is.
 */

type Quote = '' | '"' | "'" | "$'";

interface Word {
  value: string;
  /** Where it begins in the line. */
  start: number;
  /** Which quotes are open at its end. */
  quote: Quote;
  /** Behind `<` or `>`: no word of the command. */
  redirected: boolean;
}

/** The last word of a line, and those before it. */
export interface BashLine {
  /** Without quotes. The first is the program, the last the one to complete, maybe empty. */
  words: string[];
  /** The last one is where something is to be redirected to. */
  redirected: boolean;
  /** Write a whole word so that it takes the place of what bash replaces. `undefined` where it cannot. */
  quoted(value: string): string | undefined;
}

/**
 * @param line up to the cursor.
 * @param replaced its end that bash replaces: not the whole word where that has a `=`, a `:` or an open quote in it.
 */
export function readBashLine(line: string, replaced: string): BashLine {
  const words = split(line);
  const last = words.at(-1);
  const kept = line.slice(last?.start ?? line.length, line.length - replaced.length);
  const [stays] = split(kept);
  const before = {value: stays?.value ?? '', quote: stays?.quote ?? ''};
  return {
    words: words.filter((word) => !word.redirected || word === last).map(({value}) => value),
    redirected: last?.redirected ?? false,
    quoted: (value) =>
      line.endsWith(replaced) && value.startsWith(before.value)
        ? quoteIn(before.quote, value.slice(before.value.length))
        : undefined,
  };
}

const ESCAPED_IN_DOUBLE_QUOTES = /[$`"\\]/;

function split(line: string): Word[] {
  const words: Word[] = [];
  let word: Word | undefined;
  let redirected = false;
  for (let index = 0; index < line.length; index++) {
    const character = line.charAt(index);
    const next = line.charAt(index + 1);
    if (!word || word.quote === '') {
      if (/[ \t\n]/.test(character)) {
        word = undefined;
        continue;
      }

      if (character === '<' || character === '>') {
        // 2>file: the number belongs to it.
        if (word && /^\d+$/.test(word.value)) words.pop();
        word = undefined;
        redirected = true;
        continue;
      }
    }

    if (!word) {
      word = {value: '', start: index, quote: '', redirected};
      redirected = false;
      words.push(word);
    }

    if (word.quote === '') {
      if (character === '\\') word.value += line.charAt(++index);
      else if (character === '"' || character === "'") word.quote = character;
      else if (character === '$' && next === "'") [word.quote, index] = ["$'", index + 1];
      else word.value += character;
    } else if (character === word.quote.at(-1)) {
      word.quote = '';
    } else if (
      character === '\\' &&
      ((word.quote === '"' && ESCAPED_IN_DOUBLE_QUOTES.test(next)) || word.quote === "$'")
    ) {
      word.value += line.charAt(++index);
    } else {
      word.value += character;
    }
  }

  // What is to come after a space.
  if (!word) words.push({value: '', start: line.length, quote: '', redirected});
  return words;
}

/**
 * What bash puts into the line, behind an open quote or none. It closes the quote itself, unless the text ends in such
 * a character, whatever that stands for; and where the text begins with one, it takes the place of the open one.
 */
function quoteIn(quote: Quote, text: string): string {
  // Letters, digits and signs of all scripts stay as they are; of ASCII, only what no shell gives a meaning to.
  if (quote === '') return text.replace(/[^\w@%+=:,./\-\u{80}-\u{10ffff}]|\p{Z}/gu, '\\$&');
  const inside = {
    // An exclamation mark is an event of the history in these, and a backslash that keeps it from it stays.
    '"': () =>
      text.replace(/[$`"\\]/g, '\\$&').replace(/!+/g, (marks) => `"${marks.replaceAll('!', '\\!')}"`),
    "'": () => text.replaceAll("'", `'\\''`),
    "$'": () => text.replace(/['\\]/g, '\\$&'),
  }[quote]();
  const mark = quote.slice(-1);
  return (inside.startsWith(mark) ? mark : '') + inside + (inside.endsWith(mark) ? mark : '');
}
