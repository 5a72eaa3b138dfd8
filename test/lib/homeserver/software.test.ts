import {strict as assert} from 'node:assert';

import nock from 'nock';

import {HttpClient} from '../../../src/lib/homeserver/http.ts';
import {identifySoftware, type Software, whyUnsupported} from '../../../src/lib/homeserver/software.ts';

const BASE = 'https://matrix.example.org';
const UNRECOGNIZED = {errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request'};

interface Answers {
  synapse?: string;
  federation?: {name: string; version?: string};
  oauth?: boolean;
}

async function identify({synapse, federation, oauth}: Answers): Promise<Software> {
  const answer = (path: string, body: nock.Body | undefined): void => {
    nock(BASE)
      .get(path)
      .reply(body === undefined ? 404 : 200, body ?? UNRECOGNIZED);
  };
  answer('/_synapse/admin/v1/server_version', synapse === undefined ? undefined : {server_version: synapse});
  answer('/_matrix/federation/v1/version', federation && {server: federation});
  answer('/_matrix/client/v1/auth_metadata', oauth ? {issuer: 'https://auth.example.org/'} : undefined);
  const http = new HttpClient({baseUrl: BASE, timeout: 30_000, userAgent: 'mxtok/test'});
  try {
    return await identifySoftware(http);
  } finally {
    http.close();
  }
}

describe('identifySoftware', () => {
  it('knows a Synapse, which can be managed', async () => {
    const software = await identify({
      synapse: '1.163.2',
      federation: {name: 'Synapse', version: '1.163.2'},
    });
    assert.deepEqual(software, {kind: 'synapse', version: '1.163.2'});
    assert.equal(whyUnsupported(software), undefined);
  });

  const unsupported: [string, Answers, Software['kind'], RegExp][] = [
    [
      'a worker, or a proxy without the admin API',
      {federation: {name: 'Synapse', version: '1.163.2'}},
      'synapse_without_admin',
      /worker.*_synapse\/admin/,
    ],
    [
      'a Synapse that leaves accounts to MAS',
      {synapse: '1.163.2', oauth: true},
      'mas',
      /Matrix Authentication Service.*mas-cli/,
    ],
    [
      'a Dendrite, which never checks tokens',
      {federation: {name: 'Dendrite', version: '0.15.2'}},
      'dendrite',
      /Dendrite 0\.15\.2.*never checks/,
    ],
    ['another homeserver', {federation: {name: 'conduwuit'}}, 'other', /conduwuit/],
    ['one that says nothing of itself', {}, 'other', /unknown software.*Synapse 1\.42/],
  ];
  for (const [name, answers, kind, says] of unsupported) {
    it(`knows ${name}, and says why it cannot be managed`, async () => {
      const software = await identify(answers);
      assert.equal(software.kind, kind);
      const error = whyUnsupported(software);
      assert.equal(error?.code, 'unsupported');
      assert.match(`${error.message} ${error.hint ?? ''}`, says);
    });
  }
});
