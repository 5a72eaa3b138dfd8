import {Plugin} from '@oclif/core';

/**
 * What oclif knows of the built commands without loading them.
 * @param root the directory of package.json. @returns the text of `oclif.manifest.json`.
 */
export async function makeManifest(root: string): Promise<string> {
  const plugin = new Plugin({type: 'core', root, ignoreManifest: true, errorOnManifestCreate: true});
  await plugin.load();
  return `${JSON.stringify(plugin.manifest, undefined, 2)}\n`;
}
