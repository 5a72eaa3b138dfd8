/** Which software is on the other end, and what it has to say about registration tokens. */
import {MxtokError} from '../errors.ts';
import {delegatesAuthentication, federationVersion, synapseVersion} from './client-api.ts';
import type {HttpClient} from './http.ts';

export type Software =
  | {kind: 'synapse'; version: string}
  /** Synapse, but its admin API is not at this address: a worker, or a proxy that passes on a part only. */
  | {kind: 'synapse_without_admin'}
  /** Accounts and registration tokens are with the Matrix Authentication Service. */
  | {kind: 'mas'; version: string | undefined}
  | {kind: 'dendrite'; name: string}
  | {kind: 'other'; name: string | undefined};

/** Asks public endpoints only. @throws {MxtokError} those of {@link HttpClient.request} */
export async function identifySoftware(http: HttpClient): Promise<Software> {
  const [synapse, delegated, name] = await Promise.all([
    synapseVersion(http),
    delegatesAuthentication(http),
    federationVersion(http),
  ]);
  if (delegated) return {kind: 'mas', version: synapse};
  if (synapse !== undefined) return {kind: 'synapse', version: synapse};
  if (name?.startsWith('Dendrite')) return {kind: 'dendrite', name};
  if (name?.startsWith('Synapse')) return {kind: 'synapse_without_admin'};
  return {kind: 'other', name};
}

/** Why registration tokens cannot be managed on this software; `undefined` where they can. */
export function whyUnsupported(software: Software): MxtokError | undefined {
  const make = (message: string, hint: string): MxtokError => new MxtokError('unsupported', message, {hint});
  switch (software.kind) {
    case 'synapse':
      return undefined;
    case 'synapse_without_admin':
      return make(
        'this is a Synapse, but its admin API is not at this address',
        'Use the address of the main process, not of a worker; or have the reverse proxy pass /_synapse/admin on to it.',
      );
    case 'mas':
      return make(
        'this homeserver leaves accounts to the Matrix Authentication Service, which keeps registration tokens of its own',
        'mxtok cannot manage those yet. Use mas-cli, or the service’s admin API.',
      );
    case 'dendrite':
      return make(
        `this is ${software.name}, which stores registration tokens but never checks them`,
        'Anybody could register with any token, so mxtok does not manage them.',
      );
    case 'other':
      return make(
        `this homeserver (${software.name ?? 'of unknown software'}) has no registration tokens that mxtok can manage`,
        'Needed is Synapse 1.42 or newer, and its admin API at this address.',
      );
  }
}
