import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

/**
 * The licences of what is bundled, which ask to be passed on with it.
 * @param inputs the files in the bundle, relative to `root`.
 */
export function thirdPartyNotices(root: string, inputs: readonly string[]): string {
  const packages = new Set(inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []));
  const notices = [...packages].sort().map((directory) => {
    const {name, version, license} = JSON.parse(
      readFileSync(join(root, directory, 'package.json'), 'utf8'),
    ) as Record<string, string>;
    const file = readdirSync(join(root, directory)).find((entry) => /^(?:licen[cs]e|copying)/i.test(entry));
    const text = file === undefined ? '' : `\n${readFileSync(join(root, directory, file), 'utf8').trim()}\n`;
    return `${name} ${version} (${license ?? 'see its package'})\n${text}`;
  });
  return `mxtok contains the following packages.\n\n${notices.join('\n' + '-'.repeat(80) + '\n')}`;
}
