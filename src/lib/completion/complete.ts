/** What could stand where the cursor is: commands, flags, and values of flags and arguments. */
import type {Command} from '@oclif/core';

import {sanitise} from '../output/sanitise.ts';
import {argumentValues, flagValues, type ValueKind} from './values.ts';

/** What is known of a command without loading it. */
export type KnownCommand = Pick<Command.Cached, 'args' | 'flags' | 'hidden' | 'id' | 'summary'>;

/** A group of commands: `server`. */
export interface KnownTopic {
  name: string;
  description?: string | undefined;
  hidden?: boolean | undefined;
}

/** What only the local files know. */
export interface Lookups {
  profiles(): {name: string; description: string}[];
  /** Of these profiles; of none named, the one that a run would use. */
  labels(servers: readonly string[] | 'all'): string[];
}

export interface Candidate {
  /** The whole word, as the program is to get it: no shell has quoted it yet. */
  value: string;
  description?: string | undefined;
}

export interface Completion {
  candidates: Candidate[];
  /** A path belongs here, which the shell completes better. */
  files: boolean;
  /** The word may go on after what is completed: a list. */
  open: boolean;
}

const NOTHING: Completion = {candidates: [], files: false, open: false};
const FILES: Completion = {...NOTHING, files: true};

/** What every command takes, though no command declares it. */
const HELP: Candidate = {value: '--help', description: 'Show help.'};
const VERSION: Candidate = {value: '--version', description: 'Show the version.'};

/**
 * @param words what stands before the cursor, without the program's name; the last is the one to complete, maybe
 * empty.
 * @returns all that may stand there, whatever part of it is typed already: shells choose each in their own way.
 */
export function complete(
  words: readonly string[],
  commands: readonly KnownCommand[],
  topics: readonly KnownTopic[],
  lookups: Lookups,
): Completion {
  const current = words.at(-1) ?? '';
  const [first, second] = words.slice(0, -1);
  if (first === undefined) {
    if (current.startsWith('-')) return {...NOTHING, candidates: [HELP, VERSION]};
    return {...NOTHING, candidates: commandsBelow('', commands, topics)};
  }

  const isTopic = commands.some(({id}) => id.startsWith(`${first}:`));
  const id = isTopic && second !== undefined ? `${first}:${second}` : first;
  const command = commands.find((known) => known.id === id);
  if (command) {
    const typed = words.slice(id.split(':').length);
    return new CommandLine(command, typed.slice(0, -1), {commands, topics, lookups}).complete(current);
  }

  if (!isTopic || second !== undefined) return NOTHING;
  if (current.startsWith('-')) return {...NOTHING, candidates: [HELP]};
  return {...NOTHING, candidates: commandsBelow(`${first}:`, commands, topics)};
}

/** @returns those of `candidates` that go on from what is typed, for shells that do not choose themselves. */
export function matching(candidates: readonly Candidate[], typed: string): Candidate[] {
  return candidates.filter(({value}) => value.startsWith(typed));
}

/** @param prefix of the topic, with its colon. */
function commandsBelow(
  prefix: string,
  commands: readonly KnownCommand[],
  topics: readonly KnownTopic[],
): Candidate[] {
  const found = new Map<string, string | undefined>();
  for (const {id, summary, hidden} of commands) {
    if (hidden || !id.startsWith(prefix)) continue;
    const [name = '', ...rest] = id.slice(prefix.length).split(':');
    const topic = topics.find((one) => one.name === prefix + name);
    if (rest.length > 0 && topic?.hidden) continue;
    if (rest.length === 0 || !found.has(name))
      found.set(name, rest.length === 0 ? summary : topic?.description);
  }

  return Array.from(found, ([value, description]) => candidate(value, description));
}

function candidate(value: string, description?: string): Candidate {
  return {value, description: description === undefined ? undefined : sanitise(description)};
}

type Flag = KnownCommand['flags'][string];

interface FlagWord {
  booleans: string[];
  /** One that takes a value. */
  option?: [name: string, flag: Flag] | undefined;
  /** All of the word up to the value, where that is in the same word. */
  prefix?: string;
}

interface Surroundings {
  commands: readonly KnownCommand[];
  topics: readonly KnownTopic[];
  lookups: Lookups;
}

/** A command and what is typed after it, read as the parser will read it. */
class CommandLine {
  readonly #command: KnownCommand;
  readonly #flags: [name: string, flag: Flag][];
  readonly #surroundings: Surroundings;
  /** The values of each flag that is given; none for one that takes no value. */
  readonly #given = new Map<string, string[]>();
  readonly #arguments: string[] = [];
  /** The flag whose value comes next. */
  #expecting: [name: string, flag: Flag] | undefined;
  /** After `--`, nothing is a flag. */
  #ended = false;

  constructor(command: KnownCommand, words: readonly string[], surroundings: Surroundings) {
    this.#command = command;
    this.#flags = Object.entries(command.flags).filter(([, {hidden}]) => !hidden);
    this.#surroundings = surroundings;
    for (const word of words) this.#read(word);
  }

  complete(current: string): Completion {
    if (this.#expecting) return this.#valuesOf(...this.#expecting, current, '');
    if (this.#ended || !current.startsWith('-')) return this.#argument(current);
    const {option, prefix} = this.#split(current);
    if (prefix === undefined) return {...NOTHING, candidates: this.#flagNames(current)};
    return option ? this.#valuesOf(...option, current.slice(prefix.length), prefix) : NOTHING;
  }

  #read(word: string): void {
    if (this.#expecting) {
      this.#give(this.#expecting[0], word);
      this.#expecting = undefined;
    } else if (this.#ended || !word.startsWith('-') || word === '-') {
      this.#arguments.push(word);
    } else if (word === '--') {
      this.#ended = true;
    } else {
      const {booleans, option, prefix} = this.#split(word);
      for (const name of booleans) this.#give(name);
      if (option && prefix !== undefined) this.#give(option[0], word.slice(prefix.length));
      else this.#expecting = option;
    }
  }

  #give(name: string, value?: string): void {
    const values = this.#given.get(name) ?? [];
    this.#given.set(name, value === undefined ? values : [...values, value]);
  }

  /** What a word says that begins with a hyphen: `--name`, `--name=value`, `-n`, `-nvalue`, `-n=value`, `-qn`. */
  #split(word: string): FlagWord {
    if (word.startsWith('--')) {
      const end = word.indexOf('=');
      const name = word.slice(2, end === -1 ? undefined : end);
      const flag = this.#flags.find(
        ([known, one]) =>
          known === name ||
          one.aliases?.includes(name) === true ||
          (one.type === 'boolean' && one.allowNo && name === `no-${known}`),
      );
      if (flag?.[1].type === 'boolean') return {booleans: [flag[0]]};
      return {booleans: [], option: flag, ...(end !== -1 && {prefix: word.slice(0, end + 1)})};
    }

    const booleans: string[] = [];
    for (let index = 1; index < word.length; index++) {
      const option = this.#flags.find(([, {char}]) => char === word.charAt(index));
      if (!option) break;
      if (option[1].type === 'boolean') {
        booleans.push(option[0]);
        continue;
      }

      const start = word.charAt(index + 1) === '=' ? index + 2 : index + 1;
      const hasValue = start < word.length || word.charAt(start - 1) === '=';
      return {booleans, option, ...(hasValue && {prefix: word.slice(0, start)})};
    }

    return {booleans};
  }

  #flagNames(current: string): Candidate[] {
    const candidates: Candidate[] = [];
    for (const [name, flag] of this.#flags) {
      const repeated = flag.type === 'option' && flag.multiple === true;
      if ((this.#given.has(name) && !repeated) || this.#isExcluded(name, flag)) continue;
      if (flag.char && !current.startsWith('--')) candidates.push(candidate(`-${flag.char}`, flag.summary));
      candidates.push(candidate(`--${name}`, flag.summary));
      if (flag.type === 'boolean' && flag.allowNo)
        candidates.push(candidate(`--no-${name}`, `The opposite of --${name}.`));
    }

    return [...candidates, HELP];
  }

  #isExcluded(name: string, flag: Flag): boolean {
    return this.#flags.some(
      ([other, {exclusive}]) =>
        other !== name &&
        this.#given.has(other) &&
        (exclusive?.includes(name) === true || flag.exclusive?.includes(other) === true),
    );
  }

  #argument(current: string): Completion {
    const {args, id} = this.#command;
    const known = Object.entries(args);
    if (id === 'help') return this.#helpTopic();
    const [name, arg] = known[Math.min(this.#arguments.length, known.length - 1)] ?? [];
    if (name === undefined || !arg) return NOTHING;
    if (this.#arguments.length >= known.length && !(arg as {multiple?: boolean}).multiple) return NOTHING;
    return this.#values(argumentValues(id, name, arg.options), current, '', false);
  }

  /** `help` takes the words of a command. */
  #helpTopic(): Completion {
    const {commands, topics} = this.#surroundings;
    const prefix = this.#arguments.map((word) => `${word}:`).join('');
    return {...NOTHING, candidates: commandsBelow(prefix, commands, topics)};
  }

  /** @param prefix what stands before the value in the same word. */
  #valuesOf(name: string, flag: Flag, typed: string, prefix: string): Completion {
    if (flag.type !== 'option') return NOTHING;
    const several = flag.delimiter === ',' || (name === 'server' && 'all-servers' in this.#command.flags);
    return this.#values(flagValues(name, flag), typed, prefix, several);
  }

  #values(kind: ValueKind, typed: string, prefix: string, several: boolean): Completion {
    if (kind.of === 'file') return FILES;
    const list = several || (kind.of === 'fixed' && kind.list === true);
    const start = list ? typed.lastIndexOf(',') + 1 : 0;
    const taken = new Set(typed.slice(0, start).split(','));
    const before = prefix + typed.slice(0, start);
    // What begins with a hyphen would be read as a flag where it stands alone; only an order may: --sort -label.
    const alone = before === '' && !(kind.of === 'fixed' && kind.descending);
    const candidates = this.#all(kind, typed.slice(start))
      .filter(({value}) => value !== '' && !taken.has(value) && !(alone && value.startsWith('-')))
      // A line break would end the word, and what else cannot be seen could mean anything.
      .filter(({value}) => sanitise(value) === value)
      .map(({value, description}) => candidate(before + value, description));
    return {candidates, files: false, open: list};
  }

  #all(kind: ValueKind, typed: string): Candidate[] {
    const {lookups} = this.#surroundings;
    switch (kind.of) {
      case 'fixed': {
        const sign = kind.descending && typed.startsWith('-') ? '-' : '';
        return kind.values.map((value) => ({value: sign + value}));
      }

      case 'server':
        return lookups.profiles().map(({name, description}) => ({value: name, description}));
      case 'label':
        return lookups.labels(this.#servers()).map((value) => ({value}));
      default:
        return [];
    }
  }

  #servers(): readonly string[] | 'all' {
    if (this.#given.has('all-servers')) return 'all';
    return (this.#given.get('server') ?? []).flatMap((value) => value.split(',')).map((name) => name.trim());
  }
}
