/** Colour for a terminal, none elsewhere. */
import {Chalk, type ChalkInstance, supportsColor, supportsColorStderr} from 'chalk';

export type Colours = ChalkInstance;

/**
 * @param wanted false for --no-color. NO_COLOR (no-color.org) is for us to heed; chalk does not on a terminal.
 */
export function coloursFor(stream: 'stdout' | 'stderr', wanted: boolean): Colours {
  const {NO_COLOR, TERM} = process.env;
  const support = stream === 'stderr' ? supportsColorStderr : supportsColor;
  const off = !wanted || Boolean(NO_COLOR) || TERM === 'dumb' || !process[stream].isTTY || !support;
  return new Chalk({level: off ? 0 : support.level});
}
