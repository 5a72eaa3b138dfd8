/** Questions to a person, on stderr, so that stdout stays data. Wrapped once: commands know no prompt library. */
import {MxtokError} from './errors.ts';

const context = {output: process.stderr};

/** Questions for one run, or `undefined` where nobody is there to answer. */
export type Prompter = typeof prompter;

export const prompter = {
  /** @param validate returns what is wrong, or `undefined`. */
  async input(message: string, validate?: (value: string) => string | undefined): Promise<string> {
    const {input} = await import('@inquirer/prompts');
    const answer = await input(
      {
        message,
        validate: (value) => validate?.(value.trim()) ?? true,
        theme: {validationFailureMode: 'clear'},
      },
      context,
    );
    return answer.trim();
  },

  /** What is typed is not shown. */
  async secret(message: string): Promise<string> {
    const {password} = await import('@inquirer/prompts');
    return password(
      {message, mask: '*', validate: (value) => value.trim() !== '' || 'It cannot be empty.'},
      context,
    );
  },

  async select<T extends string>(message: string, choices: readonly {value: T; name: string}[]): Promise<T> {
    const {select} = await import('@inquirer/prompts');
    return select({message, choices: [...choices]}, context);
  },

  /** @throws {MxtokError} `declined` */
  async confirm(message: string): Promise<void> {
    const {confirm} = await import('@inquirer/prompts');
    if (!(await confirm({message, default: false}, context))) {
      throw new MxtokError('declined', 'nothing was changed');
    }
  },
};

/**
 * A validator for {@link prompter.input} from a function that throws usage errors.
 * @returns its message, or `undefined` where it takes the value.
 */
export function complaint(parse: (value: string) => unknown): (value: string) => string | undefined {
  return (value) => {
    try {
      parse(value);
      return undefined;
    } catch (error) {
      // Nobody has typed the flag that it names.
      return (error as Error).message.replace(/^--[a-z-]+:? /, '');
    }
  };
}
